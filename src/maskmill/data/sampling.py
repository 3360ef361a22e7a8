"""Which sample comes when: a function of (seed, epoch, rank) alone, and every evaluated image exactly once."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch.utils.data import Sampler


class Draw(NamedTuple):
    """One request to the dataset: the sample, the epoch that seeds its augmentation, and whether it counts."""

    sample: int
    epoch: int = 0
    valid: bool = True


class ShuffledSampler(Sampler[Draw]):
    """Every sample once an epoch in an order drawn from (seed, epoch), dealt to the processes in turn.

    Where the number of processes does not divide the samples, the first ones are drawn a second time, so that all take equally many steps.

    Raises:
        ValueError: there are no samples.
    """

    def __init__(self, num_samples: int, *, seed: int, rank: int = 0, world_size: int = 1) -> None:
        if num_samples < 1:
            raise ValueError(
                "Expected at least one training image, but got none - check the splits in dataset.json"
            )
        self.num_samples, self.seed, self.rank, self.world_size, self.epoch = (
            num_samples,
            seed,
            rank,
            world_size,
            0,
        )
        self._first = 0

    def skip(self, num_samples: int) -> None:
        """Begin the next epoch after so many samples of this process, as a training does that was killed within it."""
        self._first = num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch to draw next; the Trainer calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.num_samples // self.world_size)

    def __iter__(self) -> Iterator[Draw]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.num_samples, generator=generator).tolist()
        first, self._first = self._first, 0
        for step in range(first, len(self)):
            yield Draw(order[(step * self.world_size + self.rank) % self.num_samples], self.epoch)


class EvaluationSampler(Sampler[Draw]):
    """Every sample exactly once over all processes, in order; repeats that only keep processes in step are marked `valid=False`."""

    def __init__(self, num_samples: int, *, rank: int = 0, world_size: int = 1) -> None:
        self.num_samples, self.rank, self.world_size = num_samples, rank, world_size

    def __len__(self) -> int:
        return -(-self.num_samples // self.world_size)

    def __iter__(self) -> Iterator[Draw]:
        for step in range(len(self)):
            place = step * self.world_size + self.rank
            yield Draw(place % self.num_samples, valid=place < self.num_samples)
