"""Do scores mean what they say: of the segments with score 0.8, are 80 % right? (Guo et al., ICML 2017, arXiv:1706.04599)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.metrics.functional.segment_matching import Matches, SegmentOutcome

Floats = npt.NDArray[np.float64]
NUM_BINS = 10


@dataclass(frozen=True)
class Reliability:
    """Scores in bins of equal width, (B,) each: how many, their mean score, and the share of them that is right; NaN in an empty bin.

    `number`, `score_sum` and `right` of several processes or resamples add up.
    """

    number: Floats
    score_sum: Floats
    right: Floats

    @property
    def confidence(self) -> Floats:
        """Mean score of each bin."""
        return self._mean(self.score_sum)

    @property
    def accuracy(self) -> Floats:
        """Share right of each bin."""
        return self._mean(self.right)

    @property
    def ece(self) -> float:
        """Expected calibration error, eq. 3: the gap between confidence and accuracy, averaged over segments; NaN without any."""
        total = self.number.sum()
        return float(np.abs(self.right - self.score_sum).sum() / total) if total else float("nan")

    def _mean(self, sums: Floats) -> Floats:
        return np.where(self.number > 0, sums / np.maximum(self.number, 1), np.nan)


def reliability(
    score: Floats, right: npt.NDArray[np.bool_], *, num_bins: int = NUM_BINS
) -> Reliability:
    """Sort scores into bins (0, 1/B], (1/B, 2/B], ...; 0 belongs to the first.

    Args:
        score: (N,) in 0..1.
        right: (N,).
        num_bins: B.

    Raises:
        ValueError: a score is not in 0..1.
    """
    outside = score[~((score >= 0) & (score <= 1))]
    if outside.size:
        raise ValueError(
            f"Expected scores in 0..1, but got {outside[:3].tolist()} - give probabilities, not logits"
        )
    place = np.clip(np.ceil(score * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    columns = (
        np.bincount(place, weights, minlength=num_bins).astype(np.float64)
        for weights in (None, score, right)
    )
    return Reliability(*columns)


def scored_segments(images: Iterable[Matches]) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The scores of predicted segments, and whether each was matched: those that have a score and are not forgiven."""
    scores, right = [np.zeros(0)], [np.zeros(0, bool)]
    for matches in images:
        counted = ~np.isnan(matches.pred.score) & (matches.pred.outcome != SegmentOutcome.IGNORED)
        scores.append(matches.pred.score[counted])
        right.append(matches.pred.outcome[counted] == SegmentOutcome.MATCHED)
    return np.concatenate(scores), np.concatenate(right)
