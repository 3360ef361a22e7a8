import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint

from maskmill.tasks.optimization import constant
from maskmill.training.averaging import WeightAverage
from maskmill.training.callbacks import ExamplePictures
from maskmill.training.checkpoints import BestCheckpoint, ResumeCheckpoint
from maskmill.training.early_stopping import StopWhenFlat
from maskmill.training.mask_annealing import MaskAnnealing
from maskmill.training.speed import ChannelsLast
from maskmill.training.trial import belongs_in_trial, restored_after
from small_trainings import Tiny


@pytest.mark.parametrize(
    "callback",
    [ChannelsLast(), WeightAverage(decay=0.9), Callback()],
    ids=lambda callback: type(callback).__name__,
)
def test_callbacks_that_change_a_step_belong_in_a_trial(callback):
    assert belongs_in_trial(callback)


@pytest.mark.parametrize(
    "callback",
    [
        BestCheckpoint(),
        ResumeCheckpoint(),
        ModelCheckpoint(),
        StopWhenFlat(),
        EarlyStopping("val/loss"),
        LearningRateMonitor(),
        ExamplePictures(1, 1),
        MaskAnnealing(),
    ],
    ids=lambda callback: type(callback).__name__,
)
def test_callbacks_that_write_or_need_a_whole_training_do_not(callback):
    assert not belongs_in_trial(callback)


def test_weights_and_scheduler_are_restored_also_after_an_error(make_task):
    task = make_task(Tiny)
    scheduler = task.scheduler
    weights = {key: value.clone() for key, value in task.state_dict().items()}

    def fail_within_a_trial():
        with restored_after(task, constant):
            assert task.scheduler is constant
            with torch.no_grad():
                task.network.layers[0].weight.fill_(1)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_within_a_trial()
    assert task.scheduler is scheduler
    for key, value in task.state_dict().items():
        assert torch.equal(value, weights[key])
