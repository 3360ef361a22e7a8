"""Confidences that mean what they say: of the pixels with confidence 0.8, 80 % are correct.

Guo et al., On Calibration of Modern Neural Networks, ICML 2017 (arXiv:1706.04599), for pixels;
Platt, Probabilistic Outputs for Support Vector Machines, 1999, for segments.
"""

import math
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le

MIN_SCORE = 1e-6  # scores of exactly 0 and 1 have no logit
Positive = Annotated[float, Gt(0), Le(1000)]


@dataclass(frozen=True)
class Calibration:
    """What `train` fits on the validation images. No label changes, and no ranking in a category.

    A pixel's class logits are divided by the temperature before the softmax (temperature scaling).
    The score of a segment becomes sigmoid(slope * logit(score) + offset), its probability to match
    a segment of the ground truth with IoU > 0.5. Both come after the segmentation, whose thresholds
    see the probabilities of the network.

    Args:
        temperature: 1 leaves the confidences of pixels unchanged.
        slope: 1 leaves the scores of segments unchanged, with an offset of 0.
        offset: added to the logit of a segment's score.

    Example:
        >>> Calibration(slope=0.5).segment_score(0.9)
        0.75
    """

    temperature: Positive = 1.0
    slope: Positive = 1.0
    offset: Annotated[float, Ge(-1000), Le(1000)] = 0.0

    def segment_score(self, score: float) -> float:
        """The calibrated score of a segment; both in 0..1."""
        if self.slope == 1 and self.offset == 0:
            return score
        clipped = min(max(score, MIN_SCORE), 1 - MIN_SCORE)
        logit = math.log(clipped / (1 - clipped))
        exponent = -(self.slope * logit + self.offset)
        return round(1 / (1 + math.exp(min(exponent, 700.0))), 12)

    def inverse_of_scores(self) -> "Calibration":
        """The calibration that gives calibrated scores of segments back as the network gave them.

        Example:
            >>> Calibration(slope=0.5).inverse_of_scores().segment_score(0.75)
            0.9
        """
        return Calibration(slope=1 / self.slope, offset=-self.offset / self.slope)


UNCALIBRATED = Calibration()
