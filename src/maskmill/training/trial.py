"""Trials: short trainings that measure something and leave the task as it was."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from lightning import Callback
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, LearningRateMonitor

from maskmill.tasks.optimization import SchedulerFactory
from maskmill.tasks.segmentation import SegmentationTask
from maskmill.training.callbacks import ExamplePictures
from maskmill.training.mask_annealing import MaskAnnealing

# Callbacks that write files, use validation, need a logger, or spread a change over a training.
_NOT_IN_TRIALS = (Checkpoint, EarlyStopping, ExamplePictures, LearningRateMonitor, MaskAnnealing)


def belongs_in_trial(callback: Callback) -> bool:
    """Does a callback change how a step computes, so that a trial needs it too?"""
    return not isinstance(callback, _NOT_IN_TRIALS)


@contextmanager
def restored_after(task: SegmentationTask, scheduler: SchedulerFactory) -> Iterator[None]:
    """Train a task with another scheduler, then restore its weights, statistics and scheduler."""
    weights = copy.deepcopy(task.state_dict())
    own_scheduler = task.scheduler
    task.scheduler = scheduler
    try:
        yield
    finally:
        task.scheduler = own_scheduler
        task.zero_grad(set_to_none=True)
        task.load_state_dict(weights)
