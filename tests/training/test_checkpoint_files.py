"""Checkpoints that are damaged, hostile or cannot be written."""

import logging
import os
import resource
import shutil

import numpy as np
import pytest
import torch

from maskmill.training.checkpoint_files import AtomicCheckpointIO, find_checkpoint, find_damage
from small_trainings import KillAt, Killed, Samples


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    os.truncate(path, 0)


def flip_64_bytes(path):
    content = np.fromfile(path, np.uint8)
    positions = np.random.default_rng(0).choice(len(content), 64, replace=False)
    content[positions] ^= 0xFF
    content.tofile(path)


class RunsCode:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def hostile(path):
    torch.save({"state_dict": RunsCode(path.with_name("executed"))}, path)


def of_another_program(path):
    torch.save({"weights": torch.zeros(3)}, path)


DAMAGES = [truncate, empty, flip_64_bytes, hostile, of_another_program]


@pytest.fixture(scope="module")
def killed(train, tmp_path_factory):
    """The folder of a training killed in its third epoch, with a checkpoint of each step."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.raises(Killed):
        train(folder, KillAt(2, 3))
    return folder


@pytest.fixture
def copied(killed, tmp_path):
    folder = tmp_path / "state"
    shutil.copytree(killed, folder)
    return folder


def messages(caplog):
    return [row.getMessage() for row in caplog.records if row.name.startswith("maskmill")]


def assert_ends_like(expected, weights, folder):
    best = torch.load(folder / "best.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(expected.weights[key], value) for key, value in weights.items())
    assert all(torch.equal(expected.best_weights[key], value) for key, value in best.items())


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(
    train, uninterrupted, copied, caplog, damage
):
    expected = uninterrupted()
    damage(copied / "last.ckpt")
    samples = Samples()
    with caplog.at_level(logging.WARNING, logger="maskmill"):
        weights, _ = train(copied, samples)
    (message,) = messages(caplog)
    assert message.startswith(f"{copied}/last.ckpt: expected a checkpoint to resume from, but it ")
    assert f"resumes from the one before it, {copied}/previous.ckpt" in message
    assert (copied / "last.ckpt.unreadable").exists()
    assert not (copied / "executed").exists()
    assert samples.batches == expected.batches[12:]  # the damaged one was of step 13
    assert_ends_like(expected, weights, copied)


@pytest.mark.slow
def test_without_a_usable_checkpoint_the_training_starts_from_scratch(
    train, uninterrupted, copied, caplog
):
    truncate(copied / "last.ckpt")
    flip_64_bytes(copied / "previous.ckpt")
    samples = Samples()
    with caplog.at_level(logging.WARNING, logger="maskmill"):
        weights, _ = train(copied, samples)
    starts = [message.count("the training starts from scratch") for message in messages(caplog)]
    assert starts == [1, 1]
    assert len(samples.batches) == 15
    assert_ends_like(uninterrupted(), weights, copied)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [truncate, os.remove])
def test_a_checkpoint_whose_best_weights_are_damaged_is_not_used(
    train, uninterrupted, copied, caplog, damage
):
    damage(copied / "best.ckpt")
    with caplog.at_level(logging.WARNING, logger="maskmill"):
        weights, _ = train(copied)
    assert "it refers to the best weights in best.ckpt, and it" in caplog.text
    assert_ends_like(uninterrupted(), weights, copied)


def test_a_checkpoint_whose_best_weights_a_later_step_replaced_is_used(copied):
    (copied / "best.ckpt").rename(copied / "best-002.ckpt")
    assert find_checkpoint(copied, set_aside=True) == copied / "last.ckpt"


@pytest.mark.slow
def test_a_moved_folder_resumes_with_its_best_weights(train, uninterrupted, copied):
    weights, trainer = train(copied)
    assert trainer.checkpoint_callback.best_model_path == str(copied / "best.ckpt")
    assert_ends_like(uninterrupted(), weights, copied)


@pytest.mark.parametrize("seed", range(20))
def test_any_flipped_byte_of_a_record_is_noticed(tmp_path, seed):
    path = tmp_path / "a.ckpt"
    torch.save({"weights": torch.arange(100_000)}, path)
    content = bytearray(path.read_bytes())
    generator = np.random.default_rng(seed)
    content[generator.integers(2_000, 800_000)] ^= 1 << generator.integers(8)
    path.write_bytes(content)
    assert find_damage(path) == "its record a/data/0 is damaged (wrong checksum)"


@pytest.fixture
def files_up_to_1_mb():
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("files_up_to_1_mb")
def test_a_full_disk_leaves_the_checkpoint_before_and_no_other_file(tmp_path):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
    with pytest.raises(OSError, match=r"last\.ckpt: expected to write .* make space on its disk"):
        AtomicCheckpointIO().save_checkpoint({"step": torch.zeros(1_000_000)}, path)
    assert list(tmp_path.iterdir()) == [path]
    assert torch.load(path, weights_only=True) == {"step": 1}
