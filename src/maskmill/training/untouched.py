"""A task that a short training, only made to learn something about it, leaves as it was."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from maskmill.tasks.optimization import SchedulerOf
from maskmill.tasks.segmentation import SegmentationTask


@contextmanager
def untouched(task: SegmentationTask, scheduler: SchedulerOf) -> Iterator[None]:
    """Within, the task trains by another schedule; afterwards its weights, statistics and schedule are as before."""
    weights, schedule = copy.deepcopy(task.state_dict()), task.scheduler
    task.scheduler = scheduler
    try:
        yield
    finally:
        task.scheduler = schedule
        task.zero_grad(set_to_none=True)
        task.load_state_dict(weights)
