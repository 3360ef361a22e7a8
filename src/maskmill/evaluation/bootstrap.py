"""How far a number would move on other images of the same kind: the bootstrap over images."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Score = Callable[
    [Array], Mapping[str, Array]
]  # weights (R, N) of images -> metric -> (R,) or (R, K)
Interval = tuple[float, float]

TAILS = (2.5, 97.5)  # percent: 95 % lie between
BLOCK = 2**20  # weights held at a time


@dataclass(frozen=True)
class Resampling:
    """How images are drawn anew.

    Args:
        num_resamples: how often; 0: no intervals.
        seed: of the drawing.
    """

    num_resamples: int = 1000
    seed: int = 0

    def weights(self, num_images: int) -> Iterator[Array]:
        """How often each image is drawn, (B, N) float64 in blocks; the same for every call, so that two models meet the same images."""
        generator = np.random.default_rng(self.seed)
        share = np.full(num_images, 1 / num_images)
        size = max(1, BLOCK // num_images)
        for start in range(
            0, self.num_resamples, size
        ):  # the generator's stream does not depend on the blocks
            yield generator.multinomial(
                num_images, share, size=min(size, self.num_resamples - start)
            ).astype(np.float64)

    def draw(self, score: Score, num_images: int) -> dict[str, Array]:
        """The score of each resample (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 6).

        Args:
            score: from weights (B, N) of the images to arrays (B, ...) by metric.
            num_images: N.

        Returns:
            metric -> (R, ...), NaN where a resample has nothing of what the metric counts.
        """
        blocks = [score(weights) for weights in self.weights(num_images)]
        return {
            name: np.concatenate([block[name] for block in blocks])
            for name in (blocks[0] if blocks else {})
        }


def intervals(values: Array) -> Array:
    """The percentile interval of resampled values (the same book, ch. 13).

    Args:
        values: (R, ...), NaN where a resample had no value.

    Returns:
        (2, ...) the bounds between which 95 % of the values lie; NaN where there are none. Rounded to 1e-9, far below what resampling can
        tell, so that they do not depend on the order in which a processor adds.
    """
    bounds = np.full((2, *values.shape[1:]), np.nan)
    some = ~np.isnan(values).all(axis=0)
    if some.any():
        bounds[:, some] = np.nanpercentile(values[:, some], TAILS, axis=0)
    return bounds.round(9)


def interval(values: Array) -> Interval | None:
    """Lower and upper bound of one metric's resampled values (R,); None where no resample had a value."""
    if not len(values):
        return None
    low, high = intervals(values).tolist()
    return None if np.isnan(low) else (low, high)
