"""The order of the samples.

It depends only on (seed, epoch, rank), and evaluation uses every image exactly once.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Sampler


class Draw(NamedTuple):
    """What a sampler asks the dataset for.

    sample: index in the split.
    epoch: seeds the augmentation.
    valid: False for a repeat that must not be counted.
    repeat: how often the epoch had this sample before; seeds the augmentation as well.
    """

    sample: int
    epoch: int = 0
    valid: bool = True
    repeat: int = 0


class ShuffledSampler(Sampler[Draw]):
    """Every sample once per epoch, in an order drawn from (seed, epoch), split over the processes.

    If the number of processes does not divide the number of samples, the first samples of the
    order are repeated, so that all processes take the same number of steps.

    With `weights`, an epoch is as long, but a sample occurs in proportion to its weight: of N
    samples, one with a share of w of all weights occurs N w times, rounded up or down at random.

    Args:
        num_samples: of the split.
        seed: of the order.
        weights: one per sample, positive; None: equal.
        rank: of this process.
        world_size: number of processes.

    Raises:
        ValueError: there are no samples.
    """

    def __init__(
        self,
        num_samples: int,
        *,
        seed: int,
        weights: Sequence[float] | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if num_samples < 1:
            raise ValueError(
                "Expected at least one training image, but got none - "
                "check the splits in dataset.json"
            )
        self.num_samples = num_samples
        self.seed = seed
        self.weights = weights
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
        draws = [Draw(sample, self.epoch) for sample in order]
        if self.weights is not None:
            start = torch.rand((), generator=generator).item()
            draws = _weighted(order, self.weights, start, self.epoch)
            order = torch.randperm(self.num_samples, generator=generator).tolist()
            draws = [draws[index] for index in order]
        first_step = self._num_skipped
        self._num_skipped = 0
        for step in range(first_step, len(self)):
            position = step * self.world_size + self.rank
            yield draws[position % self.num_samples]


def _weighted(
    order: Sequence[int], weights: Sequence[float], start: float, epoch: int
) -> list[Draw]:
    """As many draws as samples, by systematic sampling: equal steps along the summed weights.

    Args:
        order: of the samples along the line; random, so that neighbours change with the epoch.
        weights: one per sample.
        start: of the first step, from 0 up to 1.
        epoch: of the draws.
    """
    num_samples = len(order)
    ends = np.cumsum(np.asarray(weights, np.float64)[np.asarray(order)])
    steps = (np.arange(num_samples) + start) / num_samples * ends[-1]
    positions = np.minimum(np.searchsorted(ends, steps, side="right"), num_samples - 1)
    draws = []
    num_before: dict[int, int] = {}
    for position in positions.tolist():
        sample = order[position]
        repeat = num_before.get(sample, 0)
        num_before[sample] = repeat + 1
        draws.append(Draw(sample, epoch, repeat=repeat))
    return draws


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
