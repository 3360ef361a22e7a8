"""The learning curves of a training as charts."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from maskmill.evaluation.learning_curves import EPOCH, SCORE, TRAIN_LOSS, VAL_LOSS, Row, rows_with
from maskmill.reporting.curve_charts import Figure
from maskmill.reporting.pages import format_percent
from maskmill.reporting.svg import Axis, Point, Tick, draw_chart, draw_dots, draw_line

NUM_TICKS = 5
STEPS = (1, 2, 5, 10)  # between ticks, times a power of ten
STYLES = {TRAIN_LOSS: "second", VAL_LOSS: "first", SCORE: "first"}


def learning_figures(history: Sequence[Row], metric: str) -> list[Figure]:
    """Losses and validation score over epochs; empty with fewer than two rows.

    Args:
        history: the learning curves.
        metric: the name of the score.
    """
    if len(history) < 2:
        return []
    last = max(row[EPOCH] for row in history)
    epochs = Axis("epoch", _ticks(0, last))
    figures = []
    losses = [row[name] for row in history for name in (TRAIN_LOSS, VAL_LOSS) if name in row]
    if losses:
        top = max(losses)
        lines = []
        for name in (TRAIN_LOSS, VAL_LOSS):
            lines.append(_line(history, name, last, top))
        chart = draw_chart(
            lines, label="losses over epochs", x_axis=epochs, y_axis=Axis("loss", _ticks(0, top))
        )
        caption = (
            f"Loss of training (dashed) and of validation, at the end {_last_losses(history)}."
        )
        figures.append(Figure(chart, caption))
    scored = rows_with(history, SCORE)
    if scored:
        top = _score_axis(max(row[SCORE] for row in scored))
        best = max(scored, key=lambda row: row[SCORE])
        position = [(best[EPOCH] / last, best[SCORE] / top)]
        title = f"{metric} {format_percent(best[SCORE])} % after epoch {best[EPOCH]:g}"
        shapes = [
            _line(history, SCORE, last, top),
            draw_dots(position, [title], css_class="dot"),
        ]
        label = f"validation {metric} over epochs"
        chart = draw_chart(
            shapes, label=label, x_axis=epochs, y_axis=Axis(f"{metric}, %", _ticks(0, 100 * top))
        )
        figures.append(Figure(chart, f"Validation score. Best, and kept: {title}."))
    return figures


def _score_axis(best: float) -> float:
    """The end of an axis of scores: a quarter, a half, three quarters or 1."""
    return max(1, math.ceil(4 * best)) / 4


def _line(history: Sequence[Row], name: str, last: float, top: float) -> Markup:
    points: list[Point] = []
    for row in rows_with(history, name):
        points.append((row[EPOCH] / last, row[name] / top if top else 0.0))
    return draw_line(points, css_class=STYLES[name]) if points else Markup("")


def _last_losses(history: Sequence[Row]) -> str:
    words = []
    for name in (TRAIN_LOSS, VAL_LOSS):
        rows = rows_with(history, name)
        words.append(f"{rows[-1][name]:.3g}" if rows else "not known")
    return " and ".join(words)


def _ticks(low: float, high: float) -> list[Tick]:
    """About five round numbers on an axis from `low` to `high`."""
    span = high - low
    if not (span > 0 and math.isfinite(span)):
        return [(0.0, f"{low:g}")]
    power = 10 ** math.floor(math.log10(span / NUM_TICKS))
    step = next(step * power for step in STEPS if span / (step * power) <= NUM_TICKS)
    ticks = []
    for index in range(int(span / step) + 1):
        ticks.append((index * step / span, f"{low + index * step:.6g}"))
    return ticks
