"""What the machine lacks: one message with the fix, the earlier output whole, nothing left."""

import errno
import os
import resource
import threading
from contextlib import contextmanager

import joblib
import numpy as np
import pytest

from maskmill.canonical.output_folder import replaced_folder
from maskmill.canonical.png import write_labels, write_rgb
from maskmill.sources.backends import parallel
from maskmill.sources.class_masks import ClassMasks
from maskmill.sources.convert import Converter
from maskmill.sources.examine import examine
from maskmill.sources.finding import Findings
from maskmill.sources.pairs import FolderPairs
from maskmill.sources.source import Sample
from maskmill.stages.resources import FIXES, message_of, missing_threads_as_os_errors

TABLE = [{"id": 0, "name": "soil"}, {"id": 1, "name": "weed"}]


@contextmanager
def limited(kind, value):
    """A lower limit of this process, as `ulimit` sets it."""
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


@pytest.fixture
def raw(tmp_path):
    """A source of four images of 30 kB; the folder `out` has an earlier conversion."""
    root = tmp_path / "raw"
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 256, (100, 100, 3), np.uint8)
        write_rgb(root / "images" / f"{number}.png", noise)
        write_labels(root / "labels" / f"{number}.png", noise[..., 0] % 2)
    return ClassMasks(root, [FolderPairs("images", "labels", {"train": 1.0})], TABLE)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("cached", [False, True])
def test_a_file_that_cannot_be_written_leaves_the_earlier_output(raw, tmp_path, cached):
    cache = tmp_path / "cache" if cached else None
    converter = Converter(tmp_path / "out", workers=1, cache=cache)
    converter.convert(raw)
    (raw.root / "images" / "0.png").touch()  # a new time of change: not from the cache
    before = contents(tmp_path / "out")
    small_files = limited(resource.RLIMIT_FSIZE, 20_000)
    with pytest.raises(OSError, match="File too large|disk") as caught, small_files:
        converter.convert(raw)
    message = message_of(caught.value)
    assert "raise the limit of file sizes (ulimit -f)" in message or "prepare.cache=null" in message
    assert ".png: expected" in message or "cache: expected" in message
    assert contents(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) in (
        ["out", "raw"],
        ["cache", "out", "raw"],
    )


def test_no_file_handles_end_the_conversion_and_blame_no_image(raw, tmp_path):
    sample = Sample("train", "0", raw.root / "images" / "0.png", raw.root / "labels" / "0.png")
    examine(raw, sample, max_pixels=None)  # imports what is loaded late
    no_more = limited(resource.RLIMIT_NOFILE, 0)
    with pytest.raises(OSError, match="Too many open files") as caught, no_more:
        examine(raw, sample, max_pixels=None)
    assert message_of(caught.value).endswith(
        "0.png: expected to use it, but got: Too many open files - raise the limit of open files "
        "(ulimit -n), or use fewer workers"
    )


def test_no_file_handle_for_the_lock_leaves_no_draft(tmp_path):
    no_more = limited(resource.RLIMIT_NOFILE, 0)
    draft = replaced_folder(tmp_path / "out", written_by="x")
    with pytest.raises(OSError, match="Too many open files"), no_more, draft:
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_worker_that_the_system_kills_is_explained():
    def die():
        os.kill(os.getpid(), 9)

    message = "the system killed one, .* set prepare.workers to a smaller"
    with pytest.raises(OSError, match=message), parallel("loky", 2) as pool:
        pool(joblib.delayed(die)() for _ in range(2))


def test_a_cache_that_cannot_be_opened_is_named_with_its_fix(raw, tmp_path):
    (tmp_path / "cache" / "index.db").mkdir(parents=True)
    converter = Converter(tmp_path / "out", workers=1, cache=tmp_path / "cache")
    message = (
        r"cache: expected a cache .* but got: unable to open database file - either remove this"
    )
    with pytest.raises(OSError, match=message):
        converter.convert(raw)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "raw"]


def test_missing_memory_names_the_image_and_the_fix(raw):
    class Greedy(ClassMasks):
        def read(self, sample, findings):
            np.zeros(2**60, np.uint8)

    greedy = Greedy(raw.root, raw.pairs, TABLE)
    (sample, *_) = raw.samples(Findings())
    with pytest.raises(MemoryError) as caught:
        examine(greedy, sample, max_pixels=None)
    message = message_of(caught.value)
    assert message.startswith(
        f"Expected enough memory, but got: {sample.labels}: Unable to allocate"
    )
    assert message.endswith(
        "use fewer workers or smaller images and batches, or a machine with more memory"
    )


def test_a_path_that_is_too_long_is_a_finding_of_its_image(raw, tmp_path):
    deep = tmp_path.joinpath(*["d" * 200] * 18)  # the limit is 4,096 bytes
    name = "/".join(["n" * 200] * 2)
    for folder in ("images", "labels"):
        target = raw.root / folder / f"{name}.png"
        target.parent.mkdir()
        (raw.root / folder / "0.png").rename(target)
    dataset = Converter(deep, workers=1, on_problem="exclude").convert(raw)
    assert dataset["splits"]["train"]["num_images"] == 3
    (finding,) = [row for row in dataset["findings"] if row["severity"] == "error"]
    assert finding["file"] == str(raw.root / "images" / f"{name}.png")
    assert finding["what"].endswith("but its path is too long")


def refuse_a_thread():
    usual = threading.stack_size(2**46)  # no memory has room for it
    try:
        threading.Thread(target=print).start()
    finally:
        threading.stack_size(usual)


def refuse_a_thread_and_fail_to_clean_up():
    try:
        refuse_a_thread()
    finally:
        threading.Thread(target=print).join()


@pytest.mark.parametrize("start", [refuse_a_thread, refuse_a_thread_and_fail_to_clean_up])
def test_a_thread_that_the_system_refuses_is_explained(start):
    with pytest.raises(OSError, match="thread") as caught, missing_threads_as_os_errors():
        start()
    assert message_of(caught.value) == (
        "Expected to use a file, worker process or thread, but got: can't start new thread - use "
        "fewer workers, or raise the limit of processes (ulimit -u)"
    )


def test_other_errors_of_the_run_time_stay_as_they_are():
    with pytest.raises(RuntimeError, match="^mine$"), missing_threads_as_os_errors():
        raise RuntimeError("mine")


@pytest.mark.parametrize("number", FIXES)
def test_each_error_of_the_system_has_its_path_and_a_fix(number):
    message = message_of(OSError(number, os.strerror(number), "out/prepare"))
    assert message == (
        f"out/prepare: expected to use it, but got: {os.strerror(number)} - {FIXES[number]}"
    )


def test_messages_of_our_own_stay_as_they_are():
    assert message_of(OSError("a: expected b - do c")) == "a: expected b - do c"
    assert message_of(FileNotFoundError("a: expected b - do c")) == "a: expected b - do c"
    assert errno.ENOENT not in FIXES
