"""Whether one model is better than another on the same images: a paired bootstrap over images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from maskmill.evaluation.bootstrap import Array, Interval, Resampling, interval
from maskmill.evaluation.image_counts import ImageCounts

METRICS = ("PQ", "PQ/thing", "mIoU")  # that a registration can be decided by
LOWER_IS_BETTER = ("PQ/lost/", "ECE")  # beginnings of names


@dataclass(frozen=True)
class Comparison:
    """Scores of two models on all images.

    Args:
        candidate: of the new model.
        baseline: of the other.
        confidence: the fraction of resamples in which the candidate leads by more than the margin.
    """

    candidate: float
    baseline: float
    confidence: float


@dataclass(frozen=True)
class Difference:
    """One number of two models on the same images.

    Args:
        kind: "all", "class" or "image".
        name: of the class or image; empty for all.
        metric: such as "PQ".
        value: of the candidate; None where it has none.
        baseline: of the other.
        bounds: 95 % of the difference, by paired bootstrap; None without resamples.
        leads: the fraction of resamples in which the candidate is better; ties do not count.
    """

    kind: str
    name: str
    metric: str
    value: float | None
    baseline: float | None
    bounds: Interval | None = None
    leads: float | None = None

    @property
    def difference(self) -> float | None:
        """Value minus baseline."""
        return None if self.value is None or self.baseline is None else self.value - self.baseline

    @property
    def significance(self) -> int:
        """1: better, -1: worse, both with 0 outside the 95 %; 0: neither."""
        if self.bounds is None:
            return 0
        low, high = self.bounds
        return _direction(self.metric) * (int(low > 0) - int(high < 0))


def compare(
    candidate: ImageCounts,
    baseline: ImageCounts,
    *,
    metric: str,
    margin: float,
    resampling: Resampling,
) -> Comparison:
    """Compare two models by resampling the images they were both scored on.

    A paired bootstrap: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 16.

    Args:
        candidate: counts of one model.
        baseline: counts of the other, on the same images.
        metric: "PQ", "PQ/thing" or "mIoU".
        margin: by how much the candidate must lead.
        resampling: how images are resampled.

    Returns:
        the scores and the confidence that the candidate leads.

    Raises:
        ValueError: the images differ, or the metric is another.
    """
    if metric not in METRICS:
        raise ValueError(
            f"Expected argument `metric` to be one of {', '.join(METRICS)}, but got {metric!r} - "
            "choose one of them"
        )
    scores = []
    resampled = []
    for counts in align(candidate, baseline):
        num_images = len(counts.images)
        # A resample without any class of the kind scores 0 for both.
        whole = np.nan_to_num(counts.score(np.ones((1, num_images)))[metric])
        scores.append(float(whole[0]))
        resampled.append(np.nan_to_num(resampling.draw(counts.score, num_images)[metric]))
    confidence = float(np.mean(resampled[0] - resampled[1] > margin))
    return Comparison(scores[0], scores[1], confidence)


def align(candidate: ImageCounts, baseline: ImageCounts) -> tuple[ImageCounts, ImageCounts]:
    """Both with images and classes in the same order.

    Raises:
        ValueError: the images differ.
    """
    unpaired = sorted(set(candidate.images) ^ set(baseline.images))[:3]
    if unpaired:
        raise ValueError(
            f"Expected counts of the same images, but only one side has {unpaired} - "
            "evaluate both models on one split"
        )
    images = sorted(candidate.images)
    categories = sorted({*candidate.categories, *baseline.categories})
    return candidate.reorder(images, categories), baseline.reorder(images, categories)


def list_differences(
    kind: str,
    names: Sequence[str],
    metric: str,
    values: tuple[Sequence[float | None], Sequence[float | None]],
    drawn: tuple[Array, Array] | None,
) -> list[Difference]:
    """The differences of one metric for several names; those without any value are left out.

    Args:
        kind: "all", "class" or "image".
        names: of the classes or images.
        metric: such as "PQ".
        values: of the candidate and of the baseline, by name.
        drawn: resampled values (R, len(names)) of both, on the same resamples; or None.
    """
    differences = []
    for index, (name, value, baseline) in enumerate(zip(names, *values, strict=True)):
        if value is None and baseline is None:
            continue
        bounds = None
        leads = None
        if drawn is not None:
            gaps = drawn[0][:, index] - drawn[1][:, index]
            gaps = gaps[~np.isnan(gaps)]  # without resamples in which a model has no value
            bounds = interval(gaps)
            leads = float(np.mean(_direction(metric) * gaps > 0)) if len(gaps) else None
        differences.append(Difference(kind, name, metric, value, baseline, bounds, leads))
    return differences


def _direction(metric: str) -> int:
    return -1 if metric.startswith(LOWER_IS_BETTER) else 1


def differences_of_counts(
    candidate: ImageCounts, baseline: ImageCounts, resampling: Resampling
) -> list[Difference]:
    """The differences between two models that follow from their counts: of all images, by class.

    Args:
        candidate: counts of one model.
        baseline: counts of the other, on the same images.
        resampling: how images are resampled.

    Raises:
        ValueError: the images differ.
    """
    pair = align(candidate, baseline)
    num_images = len(pair[0].images)
    whole = [counts.score(np.ones((1, num_images))) for counts in pair]
    drawn = [resampling.draw(counts.score, num_images) for counts in pair]
    return differences_of_scores(whole, drawn, pair[0].categories)


def differences_of_scores(
    whole: Sequence[Mapping[str, Array]],
    drawn: Sequence[Mapping[str, Array]],
    categories: Sequence[str],
) -> list[Difference]:
    """The differences of all metrics that both models have.

    Args:
        whole: metric -> (1,) or, for "metric/class", (1, K), of the candidate and of the baseline
            on all images.
        drawn: metric -> (R,) or (R, K), of both on the same resamples.
        categories: K names.
    """
    differences: list[Difference] = []
    for metric in whole[0]:
        if metric not in whole[1]:
            continue
        values = _optional(whole[0][metric]), _optional(whole[1][metric])
        resampled = None
        if drawn[0] and drawn[1]:
            num_resamples = len(drawn[0][metric])
            ours = drawn[0][metric].reshape(num_resamples, -1)
            theirs = drawn[1][metric].reshape(num_resamples, -1)
            resampled = (ours, theirs)
        if metric.endswith("/class"):
            name = metric.removesuffix("/class")
            differences += list_differences("class", categories, name, values, resampled)
        else:
            differences += list_differences("all", [""], metric, values, resampled)
    return differences


def _optional(scores: Array) -> list[float | None]:
    """A row of scores as a list, NaN as None."""
    return [None if np.isnan(value) else value for value in scores.reshape(-1).tolist()]
