"""The batch sizes that fit into memory, and the speed of each."""

# Why not Lightning's batch-size finder (read in 2.6.6, tuner/batch_size_scaling.py):
# - It returns one size. It measures neither speed nor memory, so nobody sees where a larger batch
#   no longer pays; it has no limit of memory either, and on a CPU too large a batch ends in the
#   kernel killing the process, not in an error.
# - It removes all callbacks while it measures, also those that change a step: averaged weights,
#   unfreezing.
# - It saves a checkpoint in `default_root_dir` and leaves it there if the process is killed.
# - It sets the batch size that it found on the model or data module.
# - `binsearch` tries sizes until it knows the limit to the single image, and then subtracts 5 %;
#   `power` only doubles. Ours tries two more sizes after the doublings.

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Interval
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.memory import is_oom_error

from maskmill.data.datamodule import SegmentationDataModule
from maskmill.data.dataset import Batch
from maskmill.tasks.optimization import constant
from maskmill.tasks.segmentation import SegmentationTask
from maskmill.training.memory import Memory
from maskmill.training.trial import restored_after

log = logging.getLogger(__name__)

MIN_SPEEDUP = 0.05  # a batch size that is faster by less than this fraction is not worth its memory
# Messages of PyTorch that Lightning's `is_oom_error` does not know: Apple's GPUs, other systems.
OUT_OF_MEMORY = ("out of memory", "not enough memory")
# Factor on the expected memory: the allocator keeps blocks of sizes that are no longer needed.
SAFETY_FACTOR = 1.1


@dataclass(frozen=True)
class Measurement:
    """A batch size that fits.

    Args:
        batch_size: images per step.
        images_per_second: speed of the steps alone, without waiting for data.
        memory: peak in bytes: of the process on the CPU, of its tensors on a GPU.
    """

    batch_size: int
    images_per_second: float
    memory: int


def _speed(measurement: Measurement) -> float:
    return measurement.images_per_second


Measure = Callable[[int], Measurement]


@dataclass(frozen=True)
class SearchResult:
    """The measurements of a search, by rising batch size, and why it stopped."""

    measurements: list[Measurement]
    stop_reason: str

    @property
    def largest(self) -> int:
        """The largest of the tried batch sizes that fits."""
        return self.measurements[-1].batch_size

    @property
    def recommended(self) -> int:
        """The smallest batch size that is about as fast as the fastest (`MIN_SPEEDUP`)."""
        fastest = max(map(_speed, self.measurements))
        for item in self.measurements:
            if item.images_per_second * (1 + MIN_SPEEDUP) >= fastest:
                return item.batch_size
        raise AssertionError("the fastest is as fast as itself")


@dataclass(frozen=True)
class BatchSizeSearch:
    """Double the batch size while it fits; then try sizes between the last two.

    Args:
        smallest: the first size to try.
        num_steps: number of timed steps for each size; one more warms up.
        memory_share: fraction of the machine's free memory that a step on the CPU may use. A GPU
            may be filled: it refuses too large a batch with an error.
        patience: number of consecutive doublings without a speed-up after which the search stops;
            None continues until memory or images run out.
    """

    smallest: Annotated[int, Ge(1)]
    num_steps: Annotated[int, Ge(1)]
    memory_share: Annotated[float, Interval(gt=0, le=1)]
    patience: Annotated[int, Ge(1)] | None

    def run(self, measure: Measure, memory: Memory, *, num_images: int) -> SearchResult:
        """Search for the batch sizes that fit.

        Args:
            measure: trains with a batch size; raises PyTorch's error if memory runs out.
            memory: memory of the device.
            num_images: size of the training split; a batch cannot be larger.

        Raises:
            ValueError: not even `smallest` fits, or there are fewer images.
        """
        if num_images < self.smallest:
            raise ValueError(
                f"Expected at least {self.smallest} training images, but there are {num_images} - "
                "either lower tune.batch_size.smallest or prepare more data"
            )
        search = _Search(self, measure, memory)
        size = self.smallest
        while not search.refusal and size <= num_images and not search.is_patience_over():
            search.try_size(size)
            size *= 2
        if not search.measurements:
            raise ValueError(
                f"Expected a batch of {self.smallest} to fit, but {search.refusal} - "
                "either lower data.crop_size or choose a smaller network"
            )
        if search.refusal:
            search.try_between()
        return SearchResult(search.measurements, search.stop_reason(num_images))


class _Search:
    """The state of a running search."""

    def __init__(self, settings: BatchSizeSearch, measure: Measure, memory: Memory) -> None:
        self.settings = settings
        self.measurements: list[Measurement] = []
        self.refusal = ""  # why the latest size does not fit
        self._measure = measure
        self._memory = memory
        self._used_before = memory.used()

    def try_size(self, size: int) -> bool:
        """Measure a size if it fits; else set `refusal`."""
        needed = self._expected_peak(size) - self._memory.used()
        allowed = self.settings.memory_share * self._memory.free()
        if not self._memory.is_safe and needed > allowed:
            self.refusal = (
                f"a batch of {size} would take {needed / 1e9:.1f} GB more, of "
                f"{allowed / 1e9:.1f} GB allowed (tune.batch_size.memory_share)"
            )
            return False
        try:
            measurement = self._measure(size)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            self.refusal = f"a batch of {size} did not fit into memory"
            return False
        self.measurements.append(measurement)
        speed = measurement.images_per_second
        log.info("batch size %4d: %8.1f images/s, %6.2f GB", size, speed, measurement.memory / 1e9)
        return True

    def try_between(self) -> None:
        """Try sizes between the last that fits and the first that does not, twice as large.

        First half the way to the latter, then a quarter further or less.
        """
        half_step = self.measurements[-1].batch_size // 2
        for step in (half_step, half_step // 2):
            if step:
                self.try_size(self.measurements[-1].batch_size + step)

    def is_patience_over(self) -> bool:
        """Were the last doublings no faster than all sizes before them?"""
        patience = self.settings.patience
        if patience is None or len(self.measurements) <= patience:
            return False
        speeds = list(map(_speed, self.measurements))
        fastest_before = max(speeds[:-patience])
        return max(speeds[-patience:]) < (1 + MIN_SPEEDUP) * fastest_before

    def stop_reason(self, num_images: int) -> str:
        """Why the search stopped."""
        if self.refusal:
            return self.refusal
        if self.is_patience_over():
            return (
                f"the last {self.settings.patience} doublings were not faster "
                "(tune.batch_size.patience=null continues nevertheless)"
            )
        return f"there are {num_images} training images"

    def _expected_peak(self, size: int) -> float:
        """Expected peak in bytes, linear in the batch size through the two largest sizes so far.

        After the first size, the line starts at the memory that was used before it.
        """
        if not self.measurements:
            return 0.0
        last = self.measurements[-1]
        previous_memory = self._used_before
        previous_size = 0
        if len(self.measurements) > 1:
            previous_memory = self.measurements[-2].memory
            previous_size = self.measurements[-2].batch_size
        growth = max(0, last.memory - previous_memory)
        bytes_per_image = growth / (last.batch_size - previous_size)
        return SAFETY_FACTOR * (last.memory + bytes_per_image * (size - last.batch_size))


def _is_out_of_memory(error: RuntimeError) -> bool:
    return is_oom_error(error) or any(words in str(error) for words in OUT_OF_MEMORY)


class StepTimer(Callback):
    """Seconds of each step but the first, from the batch's arrival until the device is done.

    Args:
        memory: memory of the device, which knows how to wait for it.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.seconds: list[float] = []
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
        """Stop the clock when the loss is known."""
        float(outputs["loss"])
        self.memory.wait()
        if trainer.fit_loop.total_batch_idx > 0:  # the first step sets up kernels and optimizer
            self.seconds.append(time.perf_counter() - self._start)


def measure_batch_size(
    batch_size: int,
    task: SegmentationTask,
    datamodule: SegmentationDataModule,
    make_trainer: Callable[..., Trainer],
    memory: Memory,
    *,
    num_steps: int,
) -> Measurement:
    """Train some steps with a batch size.

    Afterwards the task's weights are as before; its schedule is not used.

    Args:
        batch_size: images per step.
        task: the task to train.
        datamodule: its data; the batch size is set there.
        make_trainer: makes a Trainer from `callbacks` and `max_steps`.
        memory: memory of the device.
        num_steps: number of timed steps.
    """
    timer = StepTimer(memory)
    datamodule.batch_size = batch_size
    memory.restart()  # an earlier size that did not fit has left memory behind
    with restored_after(task, constant):  # the configured schedule may need more steps
        make_trainer(callbacks=[timer], max_steps=num_steps + 1).fit(task, datamodule)
    peak = memory.peak()
    memory.restart()
    return Measurement(batch_size, batch_size / float(np.median(timer.seconds)), peak)
