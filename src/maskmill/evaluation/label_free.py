"""The scores of a model on images without labels, estimated from its confidence.

Validation images tell how often a pixel of a predicted class and confidence belongs to each class.
Applied to new images, this gives an expected confusion matrix, and its mIoU (Garg et al.,
arXiv:2201.04234, compare such estimates). Under a shift, confidence falls less than the score does,
and segments fall apart sooner than pixels. So mIoU and PQ are read from the expected mIoU by a line
that is fitted to changed copies of the validation images, those with a similar expectation first
(Deng and Zheng, arXiv:2007.02915; local regression: Cleveland, JASA 1979). The interval is that of
a prediction by Student's t: a few copies give the errors of lines that were not fitted to them.
The few validation images behind all copies add what resampling them changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from maskmill.canonical.categories import Categories
from maskmill.evaluation.observation import Observation, class_bins
from maskmill.evaluation.outcomes import Outcomes
from maskmill.evaluation.reference import LabelledObservation, Reference, ShiftedScores, observed
from maskmill.metrics.functional.confusion_matrix import semantic_scores

Floats = npt.NDArray[np.float64]

PRIOR_PIXELS = 20.0  # of all classes together, added to each class and confidence
NUM_RESAMPLES = 200
REACH = 0.1  # of the expected mIoU: copies that are further away count less
FAR_WEIGHT = 1e-3  # of copies at any distance, so that a line is always defined
COVERAGE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A score without labels, as fractions.

    Args:
        score: its name.
        value: the estimate.
        low: the lower bound of the interval.
        high: the upper bound.
        reference: the score on the validation images.
        error: mean absolute error on changed copies that the correction was not fitted to.
    """

    score: str
    value: float
    low: float
    high: float
    reference: float
    error: float


class Estimator:
    """Expects a score from what validation images tell about confidence.

    Args:
        outcomes: of the validation images.
        weights: how often each image counts, (N,); None: once.
    """

    def __init__(self, outcomes: Outcomes, weights: Floats | None = None) -> None:
        self.categories = outcomes.categories
        weights = np.ones(outcomes.num_images) if weights is None else weights
        self.target_share = _target_share(outcomes.pixel_table(weights))  # (K + 1, B, K + 1)

    def expected_miou(self, bins: Floats) -> float:
        """The expected mIoU of images; NaN without a pixel.

        Args:
            bins: (K + 1, B) pixels by predicted class and confidence, summed over the images.
        """
        background = self.categories.background_index is not None
        confusion = np.einsum("pb,pbt->tp", bins, self.target_share)  # (K + 1, K + 1)
        # A class that is predicted nowhere is expected nowhere: a few confused pixels would else
        # give it an IoU of 0, which the mean counts.
        confusion[bins.sum(axis=1) == 0] = 0
        return semantic_scores(confusion, background=background)["mIoU"]


def sum_bins(observations: Sequence[Observation], categories: Categories) -> Floats:
    """Pixels by predicted class and confidence, (K + 1, B), of all images."""
    total: Floats = class_bins(observations, categories).sum(axis=0)
    return total


def estimate_scores(
    reference: Reference, observations: Sequence[Observation], categories: Categories
) -> list[Estimate]:
    """The scores of images without labels, with their intervals.

    Args:
        reference: of the model.
        observations: of the images.
        categories: of the data set.
    """
    outcomes = Outcomes(reference.labelled, categories)
    bins = sum_bins(observations, categories)
    expected = Estimator(outcomes).expected_miou(bins)
    if np.isnan(expected):
        return []
    spreads = _spreads(outcomes, bins, reference.scores)
    true = outcomes.scores()
    estimates = []
    for score in reference.scores:
        line = CorrectionLine(reference.shifted, score)
        value, low, high = line.interval(expected, spreads[score])
        estimates.append(Estimate(score, value, low, high, true[score], line.error))
    return estimates


class CorrectionLine:
    """From the expected mIoU to a score, by changed copies of the validation images.

    Args:
        shifted: the copies.
        score: its name.
    """

    def __init__(self, shifted: Sequence[ShiftedScores], score: str) -> None:
        points = []
        for row in shifted:
            if score in row.true:
                points.append((row.expected, row.true[score]))
        self.x, self.y = np.array(points).reshape(-1, 2).T
        errors = np.zeros(len(points))
        for index, (x, y) in enumerate(zip(self.x, self.y, strict=True)):
            others = np.arange(len(points)) != index
            errors[index] = abs(y - _predict(self.x[others], self.y[others], x))
        self.errors = errors  # on copies that the line was not fitted to

    @property
    def error(self) -> float:
        """Mean absolute error on copies that the line was not fitted to."""
        return float(self.errors.mean()) if len(self.errors) else 0.0

    def interval(self, expected: float, spread: float) -> tuple[float, float, float]:
        """The estimate and the interval around it, in 0..1.

        Args:
            expected: mIoU.
            spread: half the width of an interval from resampled validation images.
        """
        value = _predict(self.x, self.y, expected)
        reach = np.hypot(_margin(self.errors, _closeness(self.x, expected)), spread)
        low, middle, high = np.clip([value - reach, value, value + reach], 0, 1).tolist()
        return middle, low, high


def _closeness(x: Floats, at: float) -> Floats:
    """How much each copy counts for an expectation."""
    weight: Floats = np.exp(-0.5 * ((x - at) / REACH) ** 2) + FAR_WEIGHT
    return weight


def _predict(x: Floats, y: Floats, at: float) -> float:
    """Local linear regression; what is expected itself without two different copies."""
    if not len(x):
        return at
    weight = _closeness(x, at)
    weight /= weight.sum()
    middle = float(weight @ x)
    variance = float(weight @ (x - middle) ** 2)
    if variance < 1e-6:
        return at + float(weight @ (y - x))
    slope = float(weight @ ((x - middle) * y)) / variance
    return float(weight @ y) + slope * (at - middle)


def _margin(errors: Floats, weight: Floats) -> float:
    """Half the width of a prediction interval, from weighted errors; 0 without any.

    Unequal weights count as fewer equal ones (Kish, Survey Sampling, 1965).
    """
    if not len(errors):
        return 0.0
    share = weight / weight.sum()
    effective = 1 / float(share @ share)
    error = float(np.sqrt(share @ errors**2))
    return error * float(stdtrit(max(effective - 1, 1), (1 + COVERAGE) / 2))


def _spreads(outcomes: Outcomes, bins: Floats, scores: Sequence[str]) -> dict[str, float]:
    """For each score, half a 95 % interval over resampled validation images.

    Both the expected mIoU and the score itself change with the images.
    """
    generator = np.random.default_rng(0)
    num_images = outcomes.num_images
    probability = np.full(num_images, 1 / num_images)
    drawn = np.zeros((NUM_RESAMPLES, 1 + len(scores)))
    for row in drawn:
        weights = generator.multinomial(num_images, probability).astype(np.float64)
        row[0] = Estimator(outcomes, weights).expected_miou(bins)
        true = outcomes.scores(weights)
        row[1:] = list(map(true.__getitem__, scores))
    low, high = np.nanquantile(drawn, [0.025, 0.975], axis=0)
    expected, *others = ((high - low) / 2).tolist()
    return dict(zip(scores, np.hypot(expected, others).tolist(), strict=True))


def _target_share(table: Floats) -> Floats:
    """How the pixels of a predicted class and confidence are distributed over classes.

    Each bin borrows a few pixels: the classes that are mistaken for the predicted one at any
    confidence, where predictions are right as often as those of all classes at this confidence.

    Args:
        table: (K + 1, B, K + 1) pixels: predicted class, bin of confidence, class of the labels.

    Returns:
        (K + 1, B, K + 1), which sums to 1 over the last axis.
    """
    size = len(table)
    own = np.arange(size)
    correct = table[own, :, own].sum(axis=0)  # (B,)
    accuracy = (correct + 1) / (table.sum(axis=(0, 2)) + 2)  # (B,) of all classes
    wrong = table.sum(axis=1)  # (K + 1, K + 1)
    wrong[own, own] = 0
    wrong += 1e-9
    wrong /= wrong.sum(axis=1, keepdims=True)
    prior = (1 - accuracy)[None, :, None] * wrong[:, None]  # (K + 1, B, K + 1)
    prior[own, :, own] = accuracy
    smoothed = table + PRIOR_PIXELS * prior
    share: Floats = smoothed / smoothed.sum(axis=2, keepdims=True)
    return share


def shifted_scores(
    name: str,
    reference: Sequence[LabelledObservation],
    changed: Sequence[LabelledObservation],
    scores: Sequence[str],
    categories: Categories,
) -> ShiftedScores | None:
    """Expected and true scores of a changed copy of validation images.

    None if nothing is predicted on the copy, where a model of things alone expects no score.

    Args:
        name: of the change.
        reference: the unchanged images.
        changed: the copy.
        scores: names of the scores.
        categories: of the data set.
    """
    estimator = Estimator(Outcomes(reference, categories))
    expected = estimator.expected_miou(sum_bins(observed(changed), categories))
    if np.isnan(expected):
        return None
    defined = {}
    for score, value in Outcomes(changed, categories).scores().items():
        if score in scores and not np.isnan(value):
            defined[score] = round(value, 6)
    return ShiftedScores(name, round(expected, 6), defined)
