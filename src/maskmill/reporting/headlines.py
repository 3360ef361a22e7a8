"""The numbers first: cards with intervals, by what they judge."""

from collections.abc import Mapping
from html import escape

from maskmill.evaluation.bootstrap import Interval
from maskmill.reporting.markup import folded, percent, span, table

GROUPS = {  # what comes first is what people quote; the rest is folded away
    "segments": ("PQ", "SQ", "RQ", "PQ/thing", "PQ/stuff"),
    "pixels": ("mIoU", "boundary_mIoU", "Dice", "fwIoU", "pixel_accuracy"),
    "scored objects": ("AP", "AP50", "AP75", "boundary_AP", "ECE"),
}


def headlines(
    scores: Mapping[str, float | None],
    bounds: Mapping[str, Interval],
    *,
    num_images: int,
    num_resamples: int,
) -> str:
    """The section.

    Args:
        scores: metric -> fraction, None where there is none.
        bounds: metric -> its interval.
        num_images: that were scored.
        num_resamples: behind the intervals.
    """
    parts = []
    for title, names in GROUPS.items():
        cards = [
            _card(name, scores[name], bounds.get(name))
            for name in names
            if scores.get(name) is not None
        ]
        if cards:
            parts.append(f'<h3>{title}</h3><div class="cards">{"".join(cards)}</div>')
    sure = (
        f" The small numbers hold 95 % of {num_resamples} bootstrap resamples of the {num_images} images: how far a score would move on "
        "other images of the same kind."
        if num_resamples
        else ""
    )
    error = (
        " ECE: expected calibration error, the gap between scores and the share that is right."
        if scores.get("ECE") is not None
        else ""
    )
    note = f"<p>Percent. PQ = SQ x RQ within a class; averages are over the classes that occur.{error}{sure}</p>"
    rows = [
        _row(name, value, bounds.get(name)) for name, value in scores.items() if value is not None
    ]
    return (
        f"{''.join(parts)}{note}{folded('all numbers', table(('metric', 'percent', '95 %'), rows))}"
    )


def _card(name: str, value: float | None, bounds: Interval | None) -> str:
    return f'<div class="card"><span>{escape(name.replace("_", " "))}</span><b>{percent(value)}</b><small>{span(bounds)}</small></div>'


def _row(name: str, value: float | None, bounds: Interval | None) -> str:
    return (
        f"<td>{escape(name.replace('_', ' '))}</td><td>{percent(value)}</td><td>{span(bounds)}</td>"
    )
