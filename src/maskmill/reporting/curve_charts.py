"""Precision-recall curves and the reliability diagram."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from maskmill.metrics.functional.calibration_error import Reliability
from maskmill.reporting.pages import format_percent
from maskmill.reporting.svg import Axis, draw_chart, draw_columns, draw_dots, draw_line

Floats = npt.NDArray[np.float64]
RECALLS = np.linspace(0, 1, 101)
MAX_CLASSES = 24  # charts of single classes; nobody reads a page with more


@dataclass(frozen=True)
class Level:
    """IoU thresholds that share a line: its name, its rows of the precisions, its style."""

    name: str
    rows: slice
    css_class: str


LEVELS = (
    Level("0.50", slice(0, 1), "first"),
    Level("0.75", slice(5, 6), "second"),
    Level("mean of 0.50 to 0.95", slice(None), "third"),
)


@dataclass(frozen=True)
class Figure:
    """A chart with its caption."""

    chart: Markup
    caption: str


@dataclass(frozen=True)
class PrecisionFigures:
    """Precision-recall curves: the mean over classes, the first classes, and how many there are."""

    mean: Figure
    classes: list[Figure]
    num_classes: int


def precision_figures(precision: Floats, names: Sequence[str]) -> PrecisionFigures | None:
    """Precision over recall at several IoU thresholds; None without a ground-truth object.

    Args:
        precision: (T, 101, K) at IoU 0.5, 0.55 .. 0.95 and recall 0, 0.01 .. 1; -1 for a class
            without ground truth.
        names: of the K classes.
    """
    present = np.flatnonzero(precision[0, 0] > -1).tolist()
    if not present:
        return None
    mean = _precision_figure(precision[:, :, present].mean(axis=2), "all classes")
    classes = []
    for index in present[:MAX_CLASSES]:
        classes.append(_precision_figure(precision[:, :, index], names[index]))
    return PrecisionFigures(mean, classes, len(present))


def _precision_figure(precision: Floats, title: str) -> Figure:
    """One chart from (T, 101)."""
    lines = []
    for level in LEVELS:
        values = precision[level.rows].mean(axis=0)
        points = zip(RECALLS.tolist(), values.tolist(), strict=True)
        lines.append(draw_line(points, css_class=level.css_class))
    label = f"precision over recall, {title}"
    chart = draw_chart(lines, label=label, x_axis=Axis("recall, %"), y_axis=Axis("precision, %"))
    area = format_percent(float(precision.mean()))
    return Figure(chart, f"{title}, AP {area}")


def reliability_figure(bins: Reliability) -> Figure:
    """Accuracy over confidence (Guo et al., ICML 2017, arXiv:1706.04599, fig. 1)."""
    filled = bins.count > 0
    confidence = bins.confidence[filled].tolist()
    accuracy = bins.accuracy[filled].tolist()
    counts = bins.count[filled].tolist()
    points = list(zip(confidence, accuracy, strict=True))
    titles = []
    for (x, y), count in zip(points, counts, strict=True):
        correct = f"{format_percent(y)} % of {count:.0f} correct"
        titles.append(f"confidence {format_percent(x)} %: {correct}")
    shares = (bins.count / bins.count.sum()).tolist()
    shapes = [
        draw_columns(shares, css_class="share"),
        draw_line([(0, 0), (1, 1)], css_class="ideal"),
        draw_line(points, css_class="first"),
        draw_dots(points, titles, css_class="dot"),
    ]
    label = "accuracy over confidence"
    axes = {"x_axis": Axis("confidence, %"), "y_axis": Axis("correct, %")}
    caption = (
        f"Expected calibration error {format_percent(bins.ece)}. Below the dashed line: "
        "overconfident. Columns: share of the predictions."
    )
    return Figure(draw_chart(shapes, label=label, **axes), caption)
