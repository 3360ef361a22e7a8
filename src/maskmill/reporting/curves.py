"""Precision over recall, and accuracy over confidence."""

from collections.abc import Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from maskmill.metrics.functional.calibration_error import Reliability
from maskmill.reporting.markup import folded, percent
from maskmill.reporting.svg import columns, dots, line, square_chart

Floats = npt.NDArray[np.float64]
RECALLS = np.linspace(0, 1, 101)
LEVELS = {  # rows of the precisions, and the line's style in page.STYLE
    "0.50": (slice(0, 1), "first"),
    "0.75": (slice(5, 6), "second"),
    "mean of 0.50 to 0.95": (slice(None), "third"),
}
MAX_CLASSES = 24  # charts of single classes; a page of more nobody reads


def precision_charts(precision: Floats, names: Sequence[str]) -> str:
    """Precision over recall at several IoU, averaged over the classes, and of each class.

    Args:
        precision: (T, 101, K) at IoU 0.5, 0.55 .. 0.95 and recall 0, 0.01 .. 1; -1 for a class the truth does not have.
        names: K classes, plain text.
    """
    seen = [place for place in range(len(names)) if precision[0, 0, place] > -1]
    if not seen:
        return ""
    whole = precision_chart(precision[:, :, seen].mean(axis=2), "all classes")
    keys = "".join(
        f'<span><svg class="key" viewBox="0 0 30 8"><path class="{kind}" d="M0 4H30"/></svg>IoU {name}</span>'
        for name, (_, kind) in LEVELS.items()
    )
    charts = "".join(
        precision_chart(precision[:, :, place], names[place]) for place in seen[:MAX_CLASSES]
    )
    more = f"<p>and {len(seen) - MAX_CLASSES} more classes</p>" if len(seen) > MAX_CLASSES else ""
    classes = (
        folded(f"each class ({len(seen)})", f'<div class="charts">{charts}</div>{more}')
        if len(seen) > 1
        else ""
    )
    return f'<p class="legend">{keys}</p><div class="charts">{whole}</div>{classes}'


def precision_chart(precision: Floats, title: str) -> str:
    """One chart from (T, 101), as a figure with its title, plain text."""
    lines = []
    for thresholds, kind in LEVELS.values():
        values = precision[thresholds].mean(axis=0)
        lines.append(line(list(zip(RECALLS.tolist(), values.tolist(), strict=True)), kind=kind))
    area = percent(float(precision.mean()))
    return _figure(
        square_chart(
            lines, label=f"precision over recall, {title}", across="recall, %", up="precision, %"
        ),
        f"{title}, AP {area}",
    )


def reliability_chart(bins: Reliability) -> str:
    """How often predictions of a confidence are right (Guo et al., ICML 2017, arXiv:1706.04599, fig. 1)."""
    some = bins.count > 0
    points = list(zip(bins.confidence[some].tolist(), bins.accuracy[some].tolist(), strict=True))
    titles = [
        f"confidence {percent(at)} %: {percent(right)} % of {number:.0f} right"
        for (at, right), number in zip(points, bins.count[some].tolist(), strict=True)
    ]
    share = (bins.count / bins.count.sum()).tolist()
    lines = [
        columns(share, kind="share"),
        line([(0, 0), (1, 1)], kind="ideal"),
        line(points, kind="first"),
        dots(points, titles, kind="dot"),
    ]
    chart = square_chart(
        lines, label="share right over confidence", across="confidence, %", up="right, %"
    )
    return _figure(
        chart,
        f"Calibration error {percent(bins.ece)}. Below the dashed line: surer than right. Columns: share of the predictions.",
    )


def _figure(chart: str, caption: str) -> str:
    return f'<figure class="chart">{chart}<figcaption>{escape(caption)}</figcaption></figure>'
