"""Is one model better than another on the same images: a paired bootstrap over images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from maskmill.evaluation.bootstrap import Array, Interval, Resampling, interval
from maskmill.evaluation.image_counts import ImageSums

METRICS = ("PQ", "PQ/thing", "mIoU")  # that may decide
FEWER_IS_BETTER = ("PQ/lost/", "ECE")  # of metrics that begin so


@dataclass(frozen=True)
class Comparison:
    """Scores of both on all images, and the share of resamples in which the candidate leads by more than the margin."""

    candidate: float
    baseline: float
    confidence: float


@dataclass(frozen=True)
class Difference:
    """One number of two models on the same images.

    Args:
        kind: "all", "class" or "image".
        name: of the class or image; empty for all.
        metric: as "PQ".
        value: of the candidate; None where it has none.
        baseline: of the other.
        bounds: 95 % of the difference, by paired bootstrap; None without resamples.
        leads: the share of resamples in which the candidate is ahead; a tie is no lead.
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
    def sure(self) -> int:
        """1: better, -1: worse, both with 0 outside the 95 %; 0: neither."""
        if self.bounds is None:
            return 0
        return _direction(self.metric) * (int(self.bounds[0] > 0) - int(self.bounds[1] < 0))


def compare(
    candidate: ImageSums, baseline: ImageSums, *, metric: str, margin: float, resampling: Resampling
) -> Comparison:
    """Compare two models by resampling the images they were both scored on (paired bootstrap, Efron and Tibshirani 1993, ch. 16).

    Args:
        candidate: counts of one model.
        baseline: counts of the other, on the same images.
        metric: "PQ", "PQ/thing" or "mIoU".
        margin: by how much the candidate must lead.
        resampling: how images are drawn anew.

    Returns:
        the scores and the confidence that the candidate leads.

    Raises:
        ValueError: the images differ, or the metric is another.
    """
    if metric not in METRICS:
        raise ValueError(
            f"Expected argument `metric` to be one of {', '.join(METRICS)}, but got {metric!r}"
        )
    pair = aligned(candidate, baseline)
    everything = np.ones((1, len(pair[0].images)))
    whole = [float(np.nan_to_num(sums.score(everything)[metric][0])) for sums in pair]
    # A resample without any class of the kind scores 0 for both.
    ours, theirs = (
        np.nan_to_num(resampling.draw(sums.score, len(sums.images))[metric]) for sums in pair
    )
    return Comparison(whole[0], whole[1], float(np.mean(ours - theirs > margin)))


def aligned(candidate: ImageSums, baseline: ImageSums) -> tuple[ImageSums, ImageSums]:
    """Both with images and classes in one order.

    Raises:
        ValueError: the images differ.
    """
    apart = sorted(set(candidate.images) ^ set(baseline.images))[:3]
    if apart:
        raise ValueError(
            f"Expected counts of the same images, but {apart} are in one only - evaluate both models on one split"
        )
    images, categories = (
        sorted(candidate.images),
        sorted({*candidate.categories, *baseline.categories}),
    )
    return candidate.of(images, categories), baseline.of(images, categories)


def differences(
    kind: str,
    names: Sequence[str],
    metric: str,
    values: tuple[Sequence[float | None], Sequence[float | None]],
    drawn: tuple[Array, Array] | None,
) -> list[Difference]:
    """The differences of one metric, for each of some names; left out where neither has a value.

    Args:
        kind: as of `Difference`.
        names: likewise.
        metric: likewise.
        values: of the candidate and of the baseline, by name.
        drawn: resampled values (R, len(names)) of both, on the same resamples; None where there are none.
    """
    listed = []
    for place, name in enumerate(names):
        value, baseline, bounds, leads = values[0][place], values[1][place], None, None
        if value is None and baseline is None:
            continue
        if drawn is not None:
            gap = drawn[0][:, place] - drawn[1][:, place]
            gap = gap[
                ~np.isnan(gap)
            ]  # a resample in which one has nothing that the metric counts tells nothing
            bounds, leads = (
                interval(gap),
                float(np.mean(_direction(metric) * gap > 0)) if len(gap) else None,
            )
        listed.append(Difference(kind, name, metric, value, baseline, bounds, leads))
    return listed


def _direction(metric: str) -> int:
    return -1 if metric.startswith(FEWER_IS_BETTER) else 1


def of_sums(candidate: ImageSums, baseline: ImageSums, resampling: Resampling) -> list[Difference]:
    """The differences between two models that their counts alone tell: of all images, and by class.

    Args:
        candidate: counts of one model.
        baseline: counts of the other, on the same images.
        resampling: how images are drawn anew.

    Raises:
        ValueError: the images differ.
    """
    pair = aligned(candidate, baseline)
    num_images = len(pair[0].images)
    whole = [sums.score(np.ones((1, num_images))) for sums in pair]
    drawn = [resampling.draw(sums.score, num_images) for sums in pair]
    return of_scores(whole, drawn, pair[0].categories)


def of_scores(
    whole: Sequence[Mapping[str, Array]],
    drawn: Sequence[Mapping[str, Array]],
    categories: Sequence[str],
) -> list[Difference]:
    """The differences of all metrics that both have.

    Args:
        whole: metric -> (1,) or, for "metric/class", (1, K), of the candidate and of the baseline on all images.
        drawn: metric -> (R,) or (R, K), of both on the same resamples.
        categories: K names.
    """
    rows = []
    for metric in (name for name in whole[0] if name in whole[1]):
        name, _, group = metric.rpartition("/")
        by_class = group == "class"
        values = [
            [None if np.isnan(value) else float(value) for value in np.atleast_1d(one[metric][0])]
            for one in whole
        ]
        ours, theirs = (
            one[metric].reshape(len(one[metric]), -1) if one else np.zeros((0, 0)) for one in drawn
        )
        pair = (ours, theirs) if len(ours) else None
        names = categories if by_class else [""]
        rows += differences(
            "class" if by_class else "all",
            names,
            name if by_class else metric,
            (values[0], values[1]),
            pair,
        )
    return rows
