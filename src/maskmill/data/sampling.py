"""The order of the samples.

It depends only on (seed, epoch, rank), and evaluation uses every image exactly once.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch.utils.data import Sampler


class Draw(NamedTuple):
    """What a sampler asks the dataset for.

    sample: index in the split.
    epoch: seeds the augmentation.
    valid: False for a repeat that must not be counted.
    """

    sample: int
    epoch: int = 0
    valid: bool = True


class ShuffledSampler(Sampler[Draw]):
    """Every sample once per epoch, in an order drawn from (seed, epoch), split over the processes.

    If the number of processes does not divide the number of samples, the first samples of the
    order are repeated, so that all processes take the same number of steps.

    Raises:
        ValueError: there are no samples.
    """

    def __init__(self, num_samples: int, *, seed: int, rank: int = 0, world_size: int = 1) -> None:
        if num_samples < 1:
            raise ValueError(
                "Expected at least one training image, but got none - "
                "check the splits in dataset.json"
            )
        self.num_samples = num_samples
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self._num_skipped = 0

    def skip(self, num_samples: int) -> None:
        """Start the next epoch after this many samples of this process, as a resumed run does."""
        self._num_skipped = num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch to draw next. The Trainer calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.num_samples // self.world_size)

    def __iter__(self) -> Iterator[Draw]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.num_samples, generator=generator).tolist()
        first_step = self._num_skipped
        self._num_skipped = 0
        for step in range(first_step, len(self)):
            position = step * self.world_size + self.rank
            yield Draw(order[position % self.num_samples], self.epoch)


class EvaluationSampler(Sampler[Draw]):
    """Every sample exactly once over all processes, in order.

    Repeats, which only give all processes the same number of steps, have `valid=False`.
    """

    def __init__(self, num_samples: int, *, rank: int = 0, world_size: int = 1) -> None:
        self.num_samples = num_samples
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return -(-self.num_samples // self.world_size)

    def __iter__(self) -> Iterator[Draw]:
        for step in range(len(self)):
            position = step * self.world_size + self.rank
            yield Draw(position % self.num_samples, valid=position < self.num_samples)
