"""Which batch sizes fit into memory, and from which on a larger one does not make the training faster."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.memory import is_oom_error

from maskmill.data.datamodule import SegmentationDataModule
from maskmill.data.dataset import Batch
from maskmill.tasks.optimization import constant
from maskmill.tasks.segmentation import SegmentationTask
from maskmill.training.memory import Memory
from maskmill.training.untouched import untouched

log = logging.getLogger(__name__)

PAYS = 0.05  # a batch size that is faster by a smaller share than this is not worth its memory
OUT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
)  # how PyTorch says it where Lightning does not know: Apple's GPUs, other systems
MARGIN = 1.1  # of the memory foreseen for a batch: the allocator keeps blocks of sizes that are no longer asked for


@dataclass(frozen=True)
class Measured:
    """A batch size that fits.

    Args:
        batch_size: images of a step.
        images_per_second: of the steps alone, without waiting for data.
        memory: peak in bytes, of the process on the CPU and of its tensors on a GPU.
    """

    batch_size: int
    images_per_second: float
    memory: int


@dataclass(frozen=True)
class Found:
    """What a search measured, by rising batch size, and why it ended."""

    measured: list[Measured]
    ended: str

    @property
    def largest(self) -> int:
        """The largest batch size that fits, of those tried."""
        return self.measured[-1].batch_size

    @property
    def enough(self) -> int:
        """The smallest batch size that none tried is much faster than."""
        fastest = max(one.images_per_second for one in self.measured)
        return next(
            one.batch_size for one in self.measured if one.images_per_second * (1 + PAYS) >= fastest
        )


@dataclass(frozen=True)
class BatchSizeSearch:
    """Double the batch size while it fits, then try between the last that did and the first that did not.

    Args:
        smallest: the first to try.
        num_steps: to time for each; one more warms up.
        memory_share: of the machine's free memory that a step on the CPU may take. A GPU may be filled: there too much is only an error.
        patience: end after so many doublings in turn that were not faster; null goes on until memory or images are used up.

    Raises:
        ValueError: a number out of range.
    """

    smallest: int
    num_steps: int
    memory_share: float
    patience: int | None

    def __post_init__(self) -> None:
        if (
            self.smallest < 1
            or self.num_steps < 1
            or not 0 < self.memory_share <= 1
            or (self.patience is not None and self.patience < 1)
        ):
            raise ValueError(
                "Expected `smallest`, `num_steps` and `patience` of at least 1 (or null for the last) and `memory_share` in (0, 1], "
                f"but got {self.smallest}, {self.num_steps}, {self.patience} and {self.memory_share} - mend tune.batch_size"
            )

    def run(self, measure: Callable[[int], Measured], memory: Memory, *, num_images: int) -> Found:
        """Search.

        Args:
            measure: trains with a batch size; raises PyTorch's error where memory does not suffice.
            memory: of the device.
            num_images: of the training split; a batch cannot be larger.

        Raises:
            ValueError: not even the smallest fits, or there are fewer images.
        """
        if num_images < self.smallest:
            raise ValueError(
                f"Expected at least {self.smallest} training images, but there are {num_images} - lower tune.batch_size.smallest, "
                "or prepare more data"
            )
        found: list[Measured] = []
        before = memory.used()
        refused, size = "", self.smallest
        while not refused and size <= num_images and not self._patience_ends(found):
            refused, size = self._try(size, found, measure, memory, before), 2 * size
        if not found:
            raise ValueError(
                f"Expected a batch of {self.smallest} to fit, but {refused} - lower data.crop_size or take a smaller network"
            )
        step = found[-1].batch_size // 2
        for part in (
            (step, step // 2) if refused else ()
        ):  # half, then a quarter of the way to what did not fit
            if part:
                refused = (
                    self._try(found[-1].batch_size + part, found, measure, memory, before)
                    or refused
                )
        return Found(found, refused or self._other_end(found, num_images))

    def _try(
        self,
        size: int,
        found: list[Measured],
        measure: Callable[[int], Measured],
        memory: Memory,
        before: int,
    ) -> str:
        """Measure one more size into `found`; why not, where it does not fit."""
        extra, allowed = (
            self._foreseen(size, found, before) - memory.used(),
            self.memory_share * memory.free(),
        )
        if not memory.is_safe and extra > allowed:
            return f"a batch of {size} would take {extra / 1e9:.1f} GB more, of {allowed / 1e9:.1f} GB allowed (tune.batch_size.memory_share)"
        try:
            found.append(measure(size))
        except RuntimeError as error:
            if not is_oom_error(error) and not any(words in str(error) for words in OUT_OF_MEMORY):
                raise
            return f"a batch of {size} did not fit into memory"
        log.info(
            "batch size %4d: %8.1f images/s, %6.2f GB",
            size,
            found[-1].images_per_second,
            found[-1].memory / 1e9,
        )
        return ""

    def _foreseen(self, size: int, found: list[Measured], before: int) -> float:
        """The peak to expect: on the line through the two largest sizes so far, or through what was used before and the only one."""
        if not found:
            return 0.0
        last = found[-1]
        base, images = (found[-2].memory, found[-2].batch_size) if len(found) > 1 else (before, 0)
        slope = max(0, last.memory - base) / (last.batch_size - images)
        return MARGIN * (last.memory + slope * (size - last.batch_size))

    def _patience_ends(self, found: list[Measured]) -> bool:
        """Were the last doublings not faster than anything before?"""
        if self.patience is None or len(found) <= self.patience:
            return False
        speeds = [one.images_per_second for one in found]
        return max(speeds[-self.patience :]) < (1 + PAYS) * max(speeds[: -self.patience])

    def _other_end(self, found: list[Measured], num_images: int) -> str:
        if self._patience_ends(found):
            return f"the last {self.patience} doublings were not faster (tune.batch_size.patience=null goes on all the same)"
        return f"there are {num_images} training images"


class StepTimer(Callback):
    """Seconds of each step but the first, from the batch's arrival to the end of what the device does for it."""

    def __init__(self, memory: Memory) -> None:
        self.memory, self.seconds = memory, list[float]()
        self._start = 0.0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Stop it when the loss is there."""
        float(outputs["loss"])
        self.memory.wait()
        if trainer.fit_loop.total_batch_idx > 0:  # the first one sets up kernels and the optimiser
            self.seconds.append(time.perf_counter() - self._start)


def measure(
    batch_size: int,
    task: SegmentationTask,
    datamodule: SegmentationDataModule,
    trainer_of: Callable[..., Trainer],
    memory: Memory,
    *,
    num_steps: int,
) -> Measured:
    """Train some steps with a batch size; the task's weights are as before afterwards, and the schedule has no part in it."""
    timer = StepTimer(memory)
    datamodule.batch_size = batch_size
    memory.restart()  # what an earlier size left behind when it did not fit
    with untouched(task, constant):  # the configured schedule may not fit into so few steps
        trainer_of(callbacks=[timer], max_steps=num_steps + 1).fit(task, datamodule)
    peak = memory.peak()
    memory.restart()
    return Measured(batch_size, batch_size / float(np.median(timer.seconds)), peak)
