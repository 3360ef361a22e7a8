"""Do scores mean what they say: of the segments with score 0.8, are 80 % correct?

Guo et al., On Calibration of Modern Neural Networks, ICML 2017 (arXiv:1706.04599).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.metrics.functional.segment_matching import Matches, SegmentOutcome

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
NUM_BINS = 10


@dataclass(frozen=True)
class Reliability:
    """Scores in bins of equal width, (B,) each; those of several images add up.

    Args:
        count: predictions in the bin.
        score_sum: the sum of their scores.
        num_correct: how many of them are correct.
    """

    count: Floats
    score_sum: Floats
    num_correct: Floats

    @property
    def confidence(self) -> Floats:
        """Mean score of each bin, (B,); NaN in an empty one."""
        return self._mean(self.score_sum)

    @property
    def accuracy(self) -> Floats:
        """Fraction of correct predictions in each bin, (B,); NaN in an empty one."""
        return self._mean(self.num_correct)

    @property
    def ece(self) -> float:
        """Expected calibration error (eq. 3), a fraction; NaN without predictions.

        It is the gap between confidence and accuracy, averaged over the predictions.
        """
        total = self.count.sum()
        if not total:
            return float("nan")
        return float(np.abs(self.num_correct - self.score_sum).sum() / total)

    def _mean(self, sums: Floats) -> Floats:
        return np.where(self.count > 0, sums / np.maximum(self.count, 1), np.nan)


def reliability(score: Floats, correct: Bools, *, num_bins: int = NUM_BINS) -> Reliability:
    """Sort scores into the bins (0, 1/B], (1/B, 2/B], ...; a score of 0 is in the first.

    Args:
        score: (N,) in 0..1.
        correct: (N,).
        num_bins: B.

    Raises:
        ValueError: a score is not in 0..1.

    Example:
        >>> bins = reliability(np.array([0.9, 0.9]), np.array([True, False]), num_bins=2)
        >>> round(bins.ece, 3)
        0.4
    """
    outside = score[~((score >= 0) & (score <= 1))]
    if outside.size:
        raise ValueError(
            f"Expected scores in 0..1, but got {outside[:3].tolist()} - "
            "give probabilities, not logits"
        )
    bin_of = np.clip(np.ceil(score * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    count = np.bincount(bin_of, minlength=num_bins)
    score_sum = np.bincount(bin_of, score, minlength=num_bins)
    num_correct = np.bincount(bin_of, correct, minlength=num_bins)
    return Reliability(
        count.astype(np.float64), score_sum.astype(np.float64), num_correct.astype(np.float64)
    )


def scored_segments(images: Iterable[Matches]) -> tuple[Floats, Bools]:
    """The scores of predicted segments, and whether each was matched.

    Segments without a score and ignored ones are left out.
    """
    scores = [np.zeros(0)]
    correct = [np.zeros(0, bool)]
    for matches in images:
        pred = matches.pred
        counted = ~np.isnan(pred.score) & (pred.outcome != SegmentOutcome.IGNORED)
        scores.append(pred.score[counted])
        correct.append(pred.outcome[counted] == SegmentOutcome.MATCHED)
    return np.concatenate(scores), np.concatenate(correct)
