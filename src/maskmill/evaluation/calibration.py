"""Fits the calibration of a model to validation images, and measures what it changes.

Guo et al., On Calibration of Modern Neural Networks, ICML 2017 (arXiv:1706.04599), for pixels;
Platt, Probabilistic Outputs for Support Vector Machines, 1999, for segments.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_softmax, logit

from maskmill.metrics.functional.calibration_error import Bools, Floats, reliability
from maskmill.postprocess.calibration import MIN_SCORE, Calibration

LOG_TEMPERATURES = (np.log(0.05), np.log(20.0))
MIN_SLOPE = 0.05  # positive, so that the order of the scores remains
MIN_SAMPLES = 50  # fewer pixels or segments do not decide; the scores then remain as they are
DECIMALS = 4  # of fitted numbers: more would differ between processors


@dataclass(frozen=True)
class Gap:
    """The expected calibration error before and after calibration, as fractions.

    Args:
        count: pixels or segments.
        ece_before: with the confidences of the network.
        ece_after: with the calibrated ones.
    """

    count: int
    ece_before: float
    ece_after: float


@dataclass(frozen=True)
class CalibrationResult:
    """A calibration and what it changes on the images that it was fitted to.

    Args:
        calibration: the fitted numbers.
        num_images: of the validation split that were used.
        pixels: of the most likely class of sampled pixels; None where nothing was fitted.
        segments: of the scores of segments; None where nothing was fitted.
    """

    calibration: Calibration
    num_images: int
    pixels: Gap | None
    segments: Gap | None

    def summary(self) -> dict[str, Any]:
        """The errors as plain values, for model.json."""
        summary: dict[str, Any] = {"num_images": self.num_images}
        for name, gap in [("pixels", self.pixels), ("segments", self.segments)]:
            if gap is not None:
                summary[name] = asdict(gap)
        return summary


def fit_temperature(logits: Floats, target: npt.NDArray[np.int64]) -> float:
    """The temperature with the smallest cross entropy (Guo et al., sec. 4.2).

    The cross entropy is convex in 1 / temperature, so there is one minimum.

    Args:
        logits: (N, K) of pixels.
        target: (N,) class indices.

    Example:
        >>> logits = np.array([[2.0, 0.0]] * 100)  # softmax says 88 %, and 75 % are correct
        >>> fit_temperature(logits, np.repeat([0, 0, 0, 1], 25))
        1.8205
    """
    if len(target) < MIN_SAMPLES:
        return 1.0
    from scipy.optimize import minimize_scalar  # 0.1 s, not at the start of a training

    rows = np.arange(len(target))

    def cross_entropy(log_temperature: float) -> float:
        log_probs = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-log_probs[rows, target].mean())

    found = minimize_scalar(
        cross_entropy, bounds=LOG_TEMPERATURES, method="bounded", options={"xatol": 1e-7}
    )
    return round(float(np.exp(found.x)), DECIMALS)


def fit_scores(score: Floats, correct: Bools) -> tuple[float, float]:
    """Slope and offset of the logit with the smallest cross entropy (Platt 1999, sec. 2.2).

    The targets are Platt's: slightly inside 0 and 1, which bounds the numbers for few segments.

    Args:
        score: (N,) of segments, in 0..1.
        correct: (N,) whether each matches a segment of the ground truth.

    Returns:
        slope, above 0, and offset; 1 and 0 if there are too few segments.

    Example:
        >>> fit_scores(np.full(200, 0.9), np.repeat([True, False], 100))[0] > 0
        True
    """
    if len(score) < MIN_SAMPLES:
        return 1.0, 0.0
    from scipy.optimize import minimize  # as above

    num_correct = int(np.count_nonzero(correct))
    num_wrong = len(correct) - num_correct
    high = (num_correct + 1) / (num_correct + 2)
    low = 1 / (num_wrong + 2)
    target = np.where(correct, high, low)
    logits = logit(np.clip(score, MIN_SCORE, 1 - MIN_SCORE))

    def cross_entropy(numbers: Floats) -> tuple[float, Floats]:
        slope, offset = numbers
        scaled = slope * logits + offset
        value = np.mean(np.logaddexp(0, scaled) - target * scaled)
        error = expit(scaled) - target
        return float(value), np.array([np.mean(error * logits), np.mean(error)])

    found = minimize(
        cross_entropy,
        np.array([1.0, 0.0]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(MIN_SLOPE, 100), (-100, 100)],
        options={"ftol": 1e-14, "gtol": 1e-9},
    )
    slope, offset = found.x.round(DECIMALS).tolist()
    return slope, offset


def pixel_gap(logits: Floats, target: npt.NDArray[np.int64], temperature: float) -> Gap:
    """The calibration error of the most likely class, with and without the temperature.

    Args:
        logits: (N, K) of pixels.
        target: (N,) class indices.
        temperature: fitted.
    """
    correct = logits.argmax(axis=1) == target
    before = np.exp(log_softmax(logits, axis=1)).max(axis=1)
    after = np.exp(log_softmax(logits / temperature, axis=1)).max(axis=1)
    return _gap(before, after, correct)


def segment_gap(score: Floats, correct: Bools, calibration: Calibration) -> Gap:
    """The calibration error of the scores of segments, before and after calibration.

    Args:
        score: (N,) before.
        correct: (N,) whether each matches a segment of the ground truth.
        calibration: fitted.
    """
    after = np.array(list(map(calibration.segment_score, score.tolist())))
    return _gap(score, after, correct)


def _gap(before: Floats, after: Floats, correct: Bools) -> Gap:
    ece_before = reliability(before, correct).ece
    ece_after = reliability(after, correct).ece
    return Gap(len(correct), round(ece_before, DECIMALS), round(ece_after, DECIMALS))
