"""The page of `maskmill monitor`: estimated scores, drift of each feature, images to label."""

from pathlib import Path

import numpy as np

from maskmill.canonical.files import write_text
from maskmill.evaluation.drift import histograms
from maskmill.evaluation.monitoring import Comparison
from maskmill.reporting.curve_charts import Figure
from maskmill.reporting.pages import render_page
from maskmill.reporting.svg import Axis, Point, draw_chart, draw_columns, draw_line

MAX_CHARTS = 40  # of features that did not drift; nobody looks at more
MAX_LISTED = 50  # images on the page; to_label.csv has them all


def write_monitor_page(path: Path, comparison: Comparison, *, model: str) -> Path:
    """Write the page.

    Args:
        path: the HTML file.
        comparison: what was found.
        model: the first digits of its fingerprint.

    Returns:
        `path`.
    """
    figures = draw_figures(comparison)
    drifted_figures = []
    for drift in comparison.drifted:
        if drift.feature in figures:
            drifted_figures.append(figures.pop(drift.feature))
    values = {
        "comparison": comparison,
        "model": model,
        "drifted_figures": drifted_figures,
        "other_figures": list(figures.values())[:MAX_CHARTS],
        "candidates": comparison.candidates[:MAX_LISTED],
    }
    return write_text(path, render_page("monitor", **values))


def draw_figures(comparison: Comparison) -> dict[str, Figure]:
    """The distributions of each numeric feature that varies, by name."""
    charts = histograms(comparison.reference.numbers, comparison.current.numbers)
    figures = {}
    for name, (edges, before, now) in charts.items():
        highest = max(*before, *now)
        shapes = [
            draw_columns((np.array(before) / highest).tolist(), css_class="share"),
            draw_line(_steps((np.array(now) / highest).tolist()), css_class="first"),
        ]
        ticks = [(0.0, f"{edges[0]:.3g}"), (1.0, f"{edges[-1]:.3g}")]
        heights = [(0.0, "0"), (1.0, f"{100 * highest:.0f}")]
        chart = draw_chart(
            shapes,
            label=f"distribution of {name}",
            x_axis=Axis(name, ticks),
            y_axis=Axis("images, %", heights),
        )
        figures[name] = Figure(chart, name)
    return figures


def _steps(heights: list[float]) -> list[Point]:
    """The outline of columns of equal width."""
    points: list[Point] = [(0.0, 0.0)]
    for index, height in enumerate(heights):
        points += [(index / len(heights), height), ((index + 1) / len(heights), height)]
    return [*points, (1.0, 0.0)]
