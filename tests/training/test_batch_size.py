"""The search over sizes of known memory, and real steps of a network that asks for too much."""

import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from maskmill.assembly.build import build
from maskmill.training.batch_size import BatchSizeSearch, Measurement, measure_batch_size
from maskmill.training.memory import Memory, left_in_group
from small_trainings import Tiny

MANY = 10**9
CPU = torch.device("cpu")


def settings(**changes):
    """A search without limits."""
    values = {"smallest": 2, "num_steps": 1, "memory_share": 1.0, "patience": None} | changes
    return BatchSizeSearch(**values)


def search(fits, speed, *, smallest=2, patience=None, num_images=MANY):
    """Search where batches of up to `fits` images fit: the tried sizes and the result."""
    tried = []

    def measure(size):
        tried.append(size)
        if size > fits:
            raise RuntimeError("CUDA out of memory.")  # the words of torch.cuda
        return Measurement(size, speed(size), size)

    searcher = settings(smallest=smallest, patience=patience)
    return tried, searcher.run(measure, Memory(CPU), num_images=num_images)


def test_sizes_double_until_one_does_not_fit_and_the_gap_is_halved_twice():
    tried, result = search(26, float)
    assert tried == [2, 4, 8, 16, 32, 24, 28]
    assert [item.batch_size for item in result.measurements] == [2, 4, 8, 16, 24]
    assert result.largest == 24
    assert result.stop_reason == "a batch of 28 did not fit into memory"


@pytest.mark.slow
@given(st.integers(1, 8), st.integers(0, 500))
def test_the_largest_size_fits_and_a_third_more_does_not(smallest, more):
    fits = smallest + more
    _, result = search(fits, float, smallest=smallest)
    gap = max(smallest, result.largest // 3 + 1)
    assert result.largest <= fits < result.largest + gap


def test_a_batch_is_not_larger_than_the_training_split():
    tried, result = search(MANY, float, num_images=9)
    assert tried == [2, 4, 8]
    assert result.stop_reason == "there are 9 training images"


def test_the_recommended_size_is_within_five_percent_of_the_fastest():
    speeds = {2: 10.0, 4: 18.0, 8: 19.5, 16: 20.0, 32: 20.1}
    tried, result = search(MANY, speeds.__getitem__, patience=2)
    assert tried == [2, 4, 8, 16, 32]  # 16 and 32 are not 5 % faster than 8
    assert result.recommended == 8
    assert result.largest == 32
    assert "the last 2 doublings were not faster" in result.stop_reason


def test_a_batch_that_would_take_too_much_of_the_machine_is_not_tried():
    memory = Memory(CPU)
    num_gigabytes = memory.free() // 10**9
    tried = []

    def measure(size):  # a gigabyte an image
        tried.append(size)
        return Measurement(size, 1.0, memory.used() + size * 10**9)

    searcher = settings(smallest=1, memory_share=0.5)
    result = searcher.run(measure, memory, num_images=MANY)
    assert "GB allowed (tune.batch_size.memory_share)" in result.stop_reason
    assert max(tried) <= 0.5 * num_gigabytes + 1
    assert max(tried) >= 0.25 * num_gigabytes - 2  # sizes double, and the gap is halved twice


def test_memory_used_before_the_search_is_not_attributed_to_the_images(monkeypatch):
    memory = Memory(CPU)
    monkeypatch.setattr(memory, "used", lambda: 1_500_000_000)
    monkeypatch.setattr(memory, "free", lambda: 2_000_000_000)

    def measure(size):  # 5 MB an image
        return Measurement(size, 1.0, 1_500_000_000 + 5_000_000 * size)

    result = settings(memory_share=0.7).run(measure, memory, num_images=MANY)
    # 1.4 GB at 5 MB an image are 280; the expected memory includes a safety factor
    assert 160 <= result.largest <= 280


@pytest.mark.parametrize(
    "message",
    ["MPS backend out of memory (MPS allocated: 9 GB)", "DefaultCPUAllocator: not enough memory"],
)
def test_the_messages_of_other_devices_end_the_search_too(message):
    def measure(size):
        if size > 2:
            raise RuntimeError(message)
        return Measurement(size, 1.0, 1)

    assert settings().run(measure, Memory(CPU), num_images=9).largest == 2


@pytest.mark.parametrize(
    ("fits", "num_images", "message"),
    [(1, 9, "Expected a batch of 2 to fit"), (9, 1, "at least 2 training images")],
)
def test_a_search_without_a_result_is_an_error(fits, num_images, message):
    with pytest.raises(ValueError, match=message):
        search(fits, float, num_images=num_images)


def test_an_error_that_is_not_about_memory_is_raised():
    def measure(_):
        raise RuntimeError("Expected more than 1 value per channel when training")

    with pytest.raises(RuntimeError, match="more than 1 value"):
        settings().run(measure, Memory(CPU), num_images=9)


class Hungry(Tiny):
    """Asks for more memory than any machine has, from five images on."""

    def forward(self, image):
        if len(image) >= 5:
            torch.empty(2**60)
        return super().forward(image)


@pytest.mark.slow
def test_real_steps_that_do_not_fit_end_the_search_and_the_weights_are_restored(
    make_task, make_data, make_trainer
):
    task = make_task(Hungry)
    memory = Memory(CPU)
    weights = {key: value.clone() for key, value in task.state_dict().items()}

    def measure(size):
        return measure_batch_size(size, task, make_data(), make_trainer, memory, num_steps=2)

    searcher = settings(smallest=1, num_steps=2, memory_share=0.9)
    result = searcher.run(measure, memory, num_images=10)
    assert [item.batch_size for item in result.measurements] == [1, 2, 4]
    assert result.stop_reason == "a batch of 5 did not fit into memory"
    for item in result.measurements:
        assert item.images_per_second > 0
        assert item.memory > 10**8  # torch alone takes that much
    for key, value in task.state_dict().items():
        assert torch.equal(value, weights[key])


@pytest.mark.slow
def test_allocated_memory_shows_in_use_and_in_the_peak():
    memory = Memory(CPU)
    used_before = memory.used()
    tensor = torch.ones(10**8, dtype=torch.uint8)
    assert 0.9e8 < memory.used() - used_before < 2e8
    assert memory.peak() >= memory.used() - 10**7  # the kernel updates the two at different times
    assert 0 < memory.free() < sys.maxsize
    assert tensor.sum() == 10**8


@pytest.mark.parametrize("prefix", ["", "total_"])  # control groups of version 2 and 1
def test_cached_files_do_not_count_as_memory_of_a_container(tmp_path, prefix):
    limit = tmp_path / "limit"
    usage = tmp_path / "usage"
    limit.write_text("12000\n")
    usage.write_text("10600\n")
    lines = ["anon 3100", f"{prefix}inactive_file 5000", f"{prefix}active_file 2500"]
    if prefix:  # version 1 also has the figures of the group without those below it
        lines += ["inactive_file 1", "active_file 1"]
    (tmp_path / "memory.stat").write_text("\n".join(lines) + "\n")
    assert left_in_group(limit, usage) == 12000 - 10600 + 7500


@pytest.mark.parametrize("text", ["max\n", None])
def test_a_container_without_a_limit_does_not_restrict(tmp_path, text):
    if text:
        (tmp_path / "limit").write_text(text)
    assert left_in_group(tmp_path / "limit", tmp_path / "usage") == sys.maxsize


@pytest.mark.parametrize(
    "changes",
    [
        {"smallest": 0},
        {"num_steps": 0},
        {"memory_share": 0.0},
        {"memory_share": 1.5},
        {"patience": 0},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(changes):
    values = {"smallest": 2, "num_steps": 4, "memory_share": 0.7, "patience": 2} | changes
    node = {"_target_": "maskmill.training.batch_size.BatchSizeSearch", **values}
    (name,) = changes
    with pytest.raises(ValueError, match=rf"tune\.{name}: expected .* but got .* Input should be"):
        build(OmegaConf.create({"tune": node}).tune, BatchSizeSearch)
