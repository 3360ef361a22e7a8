"""The page of a learning-rate range test: loss over learning rate, and the suggested rate."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from maskmill.canonical.files import write_text
from maskmill.reporting.pages import render_page
from maskmill.reporting.svg import Axis, Tick, draw_chart, draw_dots, draw_line

Floats = npt.NDArray[np.float64]
MARGIN = 0.05  # above and below the curve, of its height
NUM_LOSS_TICKS = 5
ROUNDING = 1e-9  # in decades: log10 of 1e-3 may be slightly below -3


def write_learning_rate_page(
    path: Path, rates: Floats, losses: Floats, smooth: Floats, *, suggested: float, settings: str
) -> Path:
    """Write the page.

    Args:
        path: the HTML file.
        rates: (N,) ascending.
        losses: (N,) of single steps; NaN and infinity are not drawn.
        smooth: (N,) smoothed losses, finite.
        suggested: the suggested rate, within `rates`.
        settings: what was trained, for the reader.

    Returns:
        `path`.
    """
    chart = draw_rate_chart(rates, losses, smooth, suggested=suggested)
    values = {"chart": chart, "suggested": f"{suggested:g}", "settings": settings}
    return write_text(path, render_page("learning_rate", **values))


def draw_rate_chart(rates: Floats, losses: Floats, smooth: Floats, *, suggested: float) -> Markup:
    """The chart: a logarithmic horizontal axis, and as high as the smoothed curve."""
    first = np.log10(rates[0])
    last = np.log10(rates[-1])
    low = smooth.min()
    high = smooth.max()
    margin = MARGIN * (high - low) or 1.0
    lowest = low - margin
    height = high - low + 2 * margin
    x = (np.log10(rates) - first) / (last - first)
    visible = np.isfinite(losses) & (losses >= lowest) & (losses <= lowest + height)
    titles = []
    for rate, loss in zip(rates[visible], losses[visible], strict=True):
        titles.append(f"learning rate {rate:.2g}: loss {loss:.4g}")
    suggested_x = float((np.log10(suggested) - first) / (last - first))
    dots = _points(x[visible], (losses[visible] - lowest) / height)
    curve = _points(x, (smooth - lowest) / height)
    shapes = [
        draw_dots(dots, titles, css_class="step"),
        draw_line([(suggested_x, 0), (suggested_x, 1)], css_class="ideal"),
        draw_line(curve, css_class="first"),
    ]
    rate_ticks: list[Tick] = []
    for decade in range(int(np.ceil(first - ROUNDING)), int(np.floor(last + ROUNDING)) + 1):
        rate_ticks.append((float((decade - first) / (last - first)), f"1e{decade}"))
    loss_ticks: list[Tick] = []
    for loss in np.linspace(low, high, NUM_LOSS_TICKS):
        loss_ticks.append((float((loss - lowest) / height), f"{loss:.3g}"))
    x_axis = Axis("learning rate", rate_ticks)
    y_axis = Axis("training loss", loss_ticks)
    return draw_chart(shapes, label="loss over learning rate", x_axis=x_axis, y_axis=y_axis)


def _points(x: Floats, y: Floats) -> list[tuple[float, float]]:
    return list(zip(x.tolist(), y.tolist(), strict=True))
