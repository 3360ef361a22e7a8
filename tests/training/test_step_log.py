import pytest
from lightning.pytorch.loggers import Logger

from maskmill.training.step_log import StepLog
from small_trainings import KillAt, Killed


class MemoryLogger(Logger):
    """Keeps everything that is logged, with its step."""

    name = "memory"
    version = "0"

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, params, *args, **kwargs):
        pass

    def steps_with(self, key):
        return [step for step, row in self.rows if key in row]

    def losses(self):
        return {step: row["train/loss"] for step, row in self.rows if "train/loss" in row}


@pytest.mark.slow
@pytest.mark.parametrize(("accumulated", "interval"), [(1, 5), (2, 3)])
def test_loss_and_speed_are_logged_every_n_steps(train, tmp_path, accumulated, interval):
    logger = MemoryLogger()
    settings = {"log_every_n_steps": interval, "accumulate_grad_batches": accumulated}
    train(tmp_path, StepLog(), logger=logger, **settings)
    steps = [interval - 1, 2 * interval - 1, 3 * interval - 1]
    assert logger.steps_with("train/loss") == steps  # counted from 0, as Lightning counts
    assert logger.steps_with("val/mIoU") == steps
    rows = [row for _, row in logger.rows if "train/loss" in row]
    for epoch, row in enumerate(rows):
        assert row["train/loss"] == pytest.approx(row["train/loss/cross_entropy"])
        assert row["train/images_per_second"] > 0
        assert 0 <= row["train/waiting_for_data"] <= 1
        assert row["epoch"] == epoch


@pytest.fixture(scope="module")
def uninterrupted_log(train, tmp_path_factory):
    logger = MemoryLogger()
    train(tmp_path_factory.mktemp("log"), StepLog(), logger=logger, log_every_n_steps=1)
    return logger


@pytest.mark.slow
@pytest.mark.parametrize("position", [(0, 3), (1, 0)], ids=str)
def test_a_resumed_run_logs_the_remaining_steps_with_the_same_losses(
    train, uninterrupted_log, tmp_path, position
):
    first = MemoryLogger()
    with pytest.raises(Killed):
        train(tmp_path, StepLog(), KillAt(*position), logger=first, log_every_n_steps=1)
    second = MemoryLogger()
    train(tmp_path, StepLog(), logger=second, log_every_n_steps=1)
    assert first.losses() | second.losses() == uninterrupted_log.losses()
    assert not first.losses().keys() & second.losses().keys()
    assert first.steps_with("val/mIoU") + second.steps_with("val/mIoU") == [4, 9, 14]
