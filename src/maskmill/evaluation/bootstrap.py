"""How far a number would move on other images of the same kind: the bootstrap over images."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
# From weights (R, N) of images to metric -> (R,) or (R, K)
Score = Callable[[Array], Mapping[str, Array]]
Interval = tuple[float, float]

TAILS = (2.5, 97.5)  # percent: 95 % lie between
BLOCK = 2**20  # weights in memory at a time
MAX_KEPT = 2**21  # weights that are kept for the next score: 16 MB


@dataclass(frozen=True)
class Resampling:
    """How images are resampled.

    Args:
        num_resamples: how often; 0: no intervals.
        seed: of the random generator.
    """

    num_resamples: int = 1000
    seed: int = 0

    def weights(self, num_images: int) -> Iterator[Array]:
        """How often each image is drawn, (B, N) float64 in blocks.

        They are the same for every call, so that two models are scored on the same resamples.
        """
        generator = np.random.default_rng(self.seed)
        probability = np.full(num_images, 1 / num_images)
        block = max(1, BLOCK // num_images)
        for start in range(0, self.num_resamples, block):  # the draws do not depend on the blocks
            size = min(block, self.num_resamples - start)
            yield generator.multinomial(num_images, probability, size=size).astype(np.float64)

    def draw(self, score: Score, num_images: int) -> dict[str, Array]:
        """The score of each resample.

        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 6.

        Args:
            score: from weights (B, N) of the images to arrays (B, ...) by metric.
            num_images: N.

        Returns:
            metric -> (R, ...), NaN where a resample contains nothing that the metric counts; empty
            without resamples.
        """
        is_kept = self.num_resamples * num_images <= MAX_KEPT
        weights = _kept_weights(self, num_images) if is_kept else self.weights(num_images)
        blocks = list(map(score, weights))
        if not blocks:
            return {}
        return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


@lru_cache(maxsize=2)
def _kept_weights(resampling: Resampling, num_images: int) -> tuple[Array, ...]:
    """The weights of one count of images, which scores of whole data sets and sizes share."""
    blocks = tuple(resampling.weights(num_images))
    for block in blocks:
        block.flags.writeable = False
    return blocks


def intervals(values: Array) -> Array:
    """The percentile interval of resampled values (Efron and Tibshirani 1993, ch. 13).

    Args:
        values: (R, ...), NaN where a resample had no value.

    Returns:
        (2, ...) the bounds between which 95 % of the values lie; NaN without values. Rounded to
        1e-9, far below the accuracy of resampling, so that they do not depend on the order of
        additions of a processor.
    """
    # np.nanpercentile(values, TAILS, axis=0), which imports numpy.ma for 50 ms and then goes
    # through the columns one by one.
    ascending = np.sort(values, axis=0)  # NaN last
    last = (~np.isnan(values)).sum(axis=0, keepdims=True) - 1
    bounds = [_percentile(ascending, last, tail) for tail in TAILS]
    return np.concatenate(bounds).round(9)


def _percentile(ascending: Array, last: npt.NDArray[np.int64], percent: float) -> Array:
    """The percentile of each column, interpolated between the two nearest values.

    Args:
        ascending: (R, ...).
        last: (1, ...) the row of each column's last value; -1, the row of a NaN, without any.
        percent: in 0..100.

    Returns:
        (1, ...).
    """
    position = np.maximum(last, 0) * (percent / 100)
    below = np.floor(position).astype(np.int64)
    low = np.take_along_axis(ascending, below, axis=0)
    high = np.take_along_axis(ascending, np.minimum(below + 1, last), axis=0)
    percentile: Array = low + (high - low) * (position - below)
    return percentile


def interval(values: Array) -> Interval | None:
    """Lower and upper bound of one metric's resampled values (R,); None without a value."""
    if not len(values):
        return None
    low, high = intervals(values).tolist()
    return None if np.isnan(low) else (low, high)
