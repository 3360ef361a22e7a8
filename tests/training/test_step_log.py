import pytest
from lightning.pytorch.loggers import Logger

from maskmill.training.step_log import StepLog
from small_trainings import KillAt, Killed


class Kept(Logger):
    """Everything logged, by step."""

    name, version = "kept", "0"

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, params, *args, **kwargs):
        pass


def losses(logger):
    return {step: row["train/loss"] for step, row in logger.rows if "train/loss" in row}


def test_losses_and_speed_of_every_nth_step(train, tmp_path):
    logger = Kept()
    train(tmp_path, StepLog(), logger=logger, log_every_n_steps=5)
    steps = [(step, row) for step, row in logger.rows if "train/loss" in row]
    assert [step for step, _ in steps] == [4, 9, 14]  # counted from 0, as Lightning counts
    for _, row in steps:
        assert row["train/loss"] == pytest.approx(row["train/loss/cross_entropy"])
        assert row["train/images_per_second"] > 0
        assert 0 <= row["train/waiting_for_data"] <= 1
    assert [row["epoch"] for _, row in steps] == [0, 1, 2]
    assert [step for step, row in logger.rows if "val/mIoU" in row] == [4, 9, 14]


@pytest.mark.parametrize("place", [(0, 3), (1, 0)], ids=str)
def test_after_a_kill_the_steps_go_on_with_the_same_losses(train, tmp_path, place):
    whole, first, second = Kept(), Kept(), Kept()
    train(tmp_path / "whole", StepLog(), logger=whole, log_every_n_steps=1)
    with pytest.raises(Killed):
        train(tmp_path / "killed", StepLog(), KillAt(*place), logger=first, log_every_n_steps=1)
    train(tmp_path / "killed", StepLog(), logger=second, log_every_n_steps=1)
    assert losses(first) | losses(second) == losses(whole)
    assert not losses(first).keys() & losses(second).keys()
    assert [step for step, row in first.rows + second.rows if "val/mIoU" in row] == [4, 9, 14]
