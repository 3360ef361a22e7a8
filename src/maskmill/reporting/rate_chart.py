"""Loss over learning rate, as a range test sees it."""

from html import escape

import numpy as np
import numpy.typing as npt

from maskmill.reporting.page import page
from maskmill.reporting.svg import Tick, chart, dots, line

Floats = npt.NDArray[np.float64]
ROOM = 0.05  # above and below the curve, of the chart's height


def rate_page(
    rates: Floats, losses: Floats, smooth: Floats, *, suggested: float, settings: str
) -> str:
    """A page with the chart and how to read it.

    Args:
        rates: (N,) rising.
        losses: (N,) of the steps; those that are no numbers are left out.
        smooth: (N,) finite.
        suggested: a rate among them.
        settings: what was trained, plain text.
    """
    figure = (
        f'<figure class="chart">{rate_chart(rates, losses, smooth, suggested=suggested)}</figure>'
    )
    legend = (
        '<p class="legend"><span><svg class="key" viewBox="0 0 30 8"><path class="first" d="M0 4H30"/></svg>smooth</span>'
        '<span><svg class="key" viewBox="0 0 30 8"><path class="ideal" d="M0 4H30"/></svg>optimizer.lr</span>dots: single steps</p>'
    )
    text = (
        f"<p>The loss falls fastest per decade at <b>optimizer.lr={suggested:g}</b>. Up to there more is faster; where it turns up, the "
        "training would run away. The rate rises from step to step: the curve shows what a rate does, not where a training ends.</p>"
    )
    return page(
        "Learning-rate range test",
        [f"<h1>Learning-rate range test</h1><p>{escape(settings)}</p>", legend, figure, text],
    )


def rate_chart(rates: Floats, losses: Floats, smooth: Floats, *, suggested: float) -> str:
    """The chart: logarithmic across, and as high as the smooth curve."""
    first, last = np.log10(rates[0]), np.log10(rates[-1])
    low, high = smooth.min(), smooth.max()
    room = ROOM * (high - low) or 1.0
    across = (np.log10(rates) - first) / (last - first)
    lowest, height = low - room, high - low + 2 * room
    curve = list(zip(across.tolist(), ((smooth - lowest) / height).tolist(), strict=True))
    shown = np.isfinite(losses) & (losses >= lowest) & (losses <= lowest + height)
    points = list(
        zip(across[shown].tolist(), ((losses[shown] - lowest) / height).tolist(), strict=True)
    )
    titles = [
        f"learning rate {rate:.2g}: loss {loss:.4g}"
        for rate, loss in zip(rates[shown], losses[shown], strict=True)
    ]
    at = float((np.log10(suggested) - first) / (last - first))
    lines = [
        dots(points, titles, kind="step"),
        line([(at, 0), (at, 1)], kind="ideal"),
        line(curve, kind="first"),
    ]
    decades = range(int(np.ceil(first - 1e-9)), int(np.floor(last + 1e-9)) + 1)
    ticks_across: list[Tick] = [
        (float((decade - first) / (last - first)), f"1e{decade}") for decade in decades
    ]
    ticks_up: list[Tick] = [
        (float((value - lowest) / height), f"{value:.3g}") for value in np.linspace(low, high, 5)
    ]
    return chart(
        lines,
        label="loss over learning rate",
        across="learning rate",
        up="training loss",
        ticks_across=ticks_across,
        ticks_up=ticks_up,
    )
