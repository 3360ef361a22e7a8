"""Two models on the same images, as tables for a page."""

from collections.abc import Sequence
from dataclasses import dataclass

from maskmill.evaluation.bootstrap import Interval
from maskmill.evaluation.comparison import Difference

HEADLINES = (
    "PQ",
    "SQ",
    "RQ",
    "PQ/thing",
    "PQ/stuff",
    "mIoU",
    "boundary_mIoU",
    "Dice",
    "pixel_accuracy",
    "AP",
    "AP50",
    "AP75",
)
CLASS_METRICS = ("PQ", "IoU", "AP")


@dataclass(frozen=True)
class DifferenceRow:
    """One metric of two models, as fractions.

    Args:
        name: of the metric or class.
        value: of the new model; None where it has none.
        baseline: of the other model.
        difference: value - baseline.
        bounds: 95 % interval of the difference.
        leads: share of resamples in which the new model is better.
        verdict: 1 better, -1 worse, 0 neither: 0 is inside the interval.
    """

    name: str
    value: float | None
    baseline: float | None
    difference: float | None
    bounds: Interval | None
    leads: float | None
    verdict: int


@dataclass(frozen=True)
class DifferenceTables:
    """The headline metrics, the other metrics, and for each metric its classes."""

    headlines: list[DifferenceRow]
    others: list[DifferenceRow]
    classes: dict[str, list[DifferenceRow]]
    num_resamples: int


def tabulate_differences(
    differences: Sequence[Difference],
    *,
    num_resamples: int,
    headlines: Sequence[str] = HEADLINES,
    class_metrics: Sequence[str] = CLASS_METRICS,
) -> DifferenceTables | None:
    """The tables; None without a difference.

    Args:
        differences: of kind "all" and "class"; other kinds are left out.
        num_resamples: of the bootstrap intervals.
        headlines: the metrics that are not folded away, in their order.
        class_metrics: the metrics of classes that are shown.
    """
    if not differences:
        return None
    overall = {}
    by_class: dict[str, list[Difference]] = {}
    for difference in differences:
        if difference.kind == "all":
            overall[difference.metric] = _row(difference, difference.metric.replace("_", " "))
        elif difference.kind == "class" and difference.metric in class_metrics:
            by_class.setdefault(difference.metric, []).append(difference)
    first = [overall[metric] for metric in headlines if metric in overall]
    others = [row for metric, row in overall.items() if metric not in headlines]
    classes = {}
    for metric, listed in by_class.items():
        ascending = sorted(listed, key=lambda difference: difference.difference or 0)
        classes[metric] = [_row(difference, difference.name) for difference in ascending]
    return DifferenceTables(first, others, classes, num_resamples)


def _row(difference: Difference, name: str) -> DifferenceRow:
    return DifferenceRow(
        name=name,
        value=difference.value,
        baseline=difference.baseline,
        difference=difference.difference,
        bounds=difference.bounds,
        leads=difference.leads,
        verdict=difference.significance,
    )
