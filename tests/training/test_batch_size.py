"""The search over sizes whose memory is known, and real steps of a network that asks for too much."""

import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskmill.training.batch_size import BatchSizeSearch, Measured, measure
from maskmill.training.memory import Memory, left_in_group
from small_trainings import Tiny

MANY = 10**9
CPU = torch.device("cpu")


def search(fits, speed, *, smallest=2, patience=None, num_images=MANY):
    """The search where batches up to `fits` images fit; the sizes it tried and what it found."""
    tried = []

    def one(size):
        tried.append(size)
        if size > fits:
            raise RuntimeError("CUDA out of memory.")  # as torch.cuda words it
        return Measured(size, speed(size), size)

    setting = BatchSizeSearch(smallest=smallest, num_steps=1, memory_share=1.0, patience=patience)
    return tried, setting.run(one, Memory(CPU), num_images=num_images)


def test_sizes_double_until_one_does_not_fit_then_the_gap_is_halved_twice():
    tried, found = search(26, float)
    assert tried == [2, 4, 8, 16, 32, 24, 28]
    assert [one.batch_size for one in found.measured] == [2, 4, 8, 16, 24]
    assert found.largest == 24
    assert found.ended == "a batch of 28 did not fit into memory"


@given(st.integers(1, 8), st.integers(0, 500))
def test_the_largest_found_fits_and_a_third_more_does_not(smallest, more):
    fits = smallest + more
    _, found = search(fits, float, smallest=smallest)
    assert found.largest <= fits < found.largest + max(smallest, found.largest // 3 + 1)


def test_a_batch_is_not_larger_than_the_training_split():
    tried, found = search(MANY, float, num_images=9)
    assert tried == [2, 4, 8]
    assert found.ended == "there are 9 training images"


def test_enough_is_where_no_larger_batch_is_more_than_five_percent_faster():
    speeds = {2: 10.0, 4: 18.0, 8: 19.5, 16: 20.0, 32: 20.1}
    tried, found = search(MANY, speeds.__getitem__, patience=2)
    assert tried == [2, 4, 8, 16, 32]  # 16 and 32 are not 5 % faster than 8
    assert found.enough == 8
    assert found.largest == 32
    assert "the last 2 doublings were not faster" in found.ended


def test_a_batch_that_would_take_too_much_of_the_machine_is_not_even_tried():
    memory = Memory(CPU)
    gigabytes = memory.free() // 10**9
    tried = []

    def one(size):
        tried.append(size)
        return Measured(size, 1.0, memory.used() + size * 10**9)  # a gigabyte an image

    found = BatchSizeSearch(smallest=1, num_steps=1, memory_share=0.5, patience=None).run(
        one, memory, num_images=MANY
    )
    assert "GB allowed (tune.batch_size.memory_share)" in found.ended
    assert max(tried) <= 0.5 * gigabytes + 1
    assert max(tried) >= 0.25 * gigabytes - 2  # sizes double, and the gap is halved twice


def test_what_the_process_held_before_is_not_taken_for_the_images(monkeypatch):
    memory = Memory(CPU)
    monkeypatch.setattr(memory, "used", lambda: 1_500_000_000)
    monkeypatch.setattr(memory, "free", lambda: 2_000_000_000)
    setting = BatchSizeSearch(smallest=2, num_steps=1, memory_share=0.7, patience=None)
    found = setting.run(
        lambda size: Measured(size, 1.0, 1_500_000_000 + 5_000_000 * size), memory, num_images=MANY
    )
    assert (
        160 <= found.largest <= 280
    )  # 1.4 GB at 5 MB an image; the forecast adds a tenth of the whole


@pytest.mark.parametrize(
    "words",
    ["MPS backend out of memory (MPS allocated: 9 GB)", "DefaultCPUAllocator: not enough memory"],
)
def test_other_devices_wording_ends_the_search_too(words):
    def one(size):
        if size > 2:
            raise RuntimeError(words)
        return Measured(size, 1.0, 1)

    found = BatchSizeSearch(smallest=2, num_steps=1, memory_share=1.0, patience=None).run(
        one, Memory(CPU), num_images=9
    )
    assert found.largest == 2


@pytest.mark.parametrize(
    ("fits", "num_images", "message"),
    [(1, 9, "Expected a batch of 2 to fit"), (9, 1, "at least 2 training images")],
)
def test_what_leaves_nothing_to_find_says_so(fits, num_images, message):
    with pytest.raises(ValueError, match=message):
        search(fits, float, num_images=num_images)


def test_an_error_that_is_not_about_memory_is_not_swallowed():
    def broken(_):
        raise RuntimeError("Expected more than 1 value per channel when training")

    with pytest.raises(RuntimeError, match="more than 1 value"):
        BatchSizeSearch(smallest=2, num_steps=1, memory_share=1.0, patience=None).run(
            broken, Memory(CPU), num_images=9
        )


class Hungry(Tiny):
    """Asks for more than any machine has, from five images on."""

    def forward(self, image):
        if len(image) >= 5:
            torch.empty(2**60)
        return super().forward(image)


def test_real_steps_that_do_not_fit_end_the_search_and_the_weights_are_as_before(
    make_task, make_data, make_trainer
):
    task, memory = make_task(Hungry), Memory(CPU)
    before = {key: value.clone() for key, value in task.state_dict().items()}

    def one(size):
        return measure(size, task, make_data(), make_trainer, memory, num_steps=2)

    found = BatchSizeSearch(smallest=1, num_steps=2, memory_share=0.9, patience=None).run(
        one, memory, num_images=10
    )
    assert [one.batch_size for one in found.measured] == [1, 2, 4]
    assert found.ended == "a batch of 5 did not fit into memory"
    assert all(
        one.images_per_second > 0 and one.memory > 10**8 for one in found.measured
    )  # torch alone takes that much
    assert all(torch.equal(value, before[key]) for key, value in task.state_dict().items())


def test_memory_that_is_taken_shows_in_use_and_in_the_peak():
    memory = Memory(CPU)
    before = memory.used()
    taken = torch.ones(10**8, dtype=torch.uint8)
    assert 0.9e8 < memory.used() - before < 2e8
    assert memory.peak() >= memory.used() - 10**7  # two clocks of the kernel's
    assert 0 < memory.free() < sys.maxsize
    assert taken.sum() == 10**8


@pytest.mark.parametrize("prefix", ["", "total_"])  # control groups of version 2 and 1
def test_files_that_were_read_do_not_count_as_taken_from_a_container(tmp_path, prefix):
    limit, usage = tmp_path / "limit", tmp_path / "usage"
    limit.write_text("12000\n")
    usage.write_text("10600\n")
    own = (
        "inactive_file 1\nactive_file 1\n" if prefix else ""
    )  # version 1 tells those of the group alone too
    (tmp_path / "memory.stat").write_text(
        f"anon 3100\n{own}{prefix}inactive_file 5000\n{prefix}active_file 2500\n"
    )
    assert left_in_group(limit, usage) == 12000 - 10600 + 7500


@pytest.mark.parametrize("text", ["max\n", None])
def test_a_container_without_a_limit_leaves_everything(tmp_path, text):
    if text:
        (tmp_path / "limit").write_text(text)
    assert left_in_group(tmp_path / "limit", tmp_path / "usage") == sys.maxsize


@pytest.mark.parametrize(
    "wrong",
    [
        {"smallest": 0},
        {"num_steps": 0},
        {"memory_share": 0.0},
        {"memory_share": 1.5},
        {"patience": 0},
    ],
    ids=str,
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="mend tune.batch_size"):
        BatchSizeSearch(
            **{"smallest": 2, "num_steps": 4, "memory_share": 0.7, "patience": 2} | wrong
        )
