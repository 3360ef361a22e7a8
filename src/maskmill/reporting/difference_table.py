"""Two models on the same images, number by number."""

from collections.abc import Sequence
from html import escape

from maskmill.evaluation.comparison import Difference
from maskmill.reporting.markup import folded, percent, points, table

FIRST = (
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
HEAD = ("", "new", "baseline", "difference", "95 %", "leads")


def difference_tables(rows: Sequence[Difference], *, num_resamples: int) -> str:
    """The table of what people quote; the other numbers and the classes folded away.

    Args:
        rows: differences of kind "all" and "class"; others are left out.
        num_resamples: behind the intervals.
    """
    everything = [row for row in rows if row.kind == "all"]
    first = sorted(
        (row for row in everything if row.metric in FIRST), key=lambda row: FIRST.index(row.metric)
    )
    rest = [row for row in everything if row.metric not in FIRST]
    parts = [table(HEAD, [_cells(row, row.metric.replace("_", " ")) for row in first], kind="pair")]
    if num_resamples:
        parts.append(
            f"<p>Percentage points. 95 % and leads: of {num_resamples} resamples of the images, the same for both; leads is the share in "
            f"which the new one is ahead. {_mark(1)} better, {_mark(-1)} worse: 0 is outside the 95 %.</p>"
        )
    if rest:
        parts.append(
            folded(
                "other numbers",
                table(
                    HEAD, [_cells(row, row.metric.replace("_", " ")) for row in rest], kind="pair"
                ),
            )
        )
    of_classes = [row for row in rows if row.kind == "class"]
    for metric in dict.fromkeys(row.metric for row in of_classes):
        chosen = sorted(
            (row for row in of_classes if row.metric == metric), key=lambda row: row.difference or 0
        )
        parts.append(
            folded(
                f"{metric} of each class ({len(chosen)})",
                table(HEAD, [_cells(row, row.name) for row in chosen], kind="pair"),
            )
        )
    return "".join(parts)


def _cells(row: Difference, name: str) -> str:
    low, high = (None, None) if row.bounds is None else row.bounds
    interval = "" if low is None else f"{points(low)} to {points(high)}"
    leads = "" if row.leads is None else f"{100 * row.leads:.0f} %"
    cells = (
        percent(row.value),
        percent(row.baseline),
        f"{_mark(row.significance)} {points(row.difference)}",
        interval,
        leads,
    )
    return f"<td>{escape(name)}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}"


def _mark(sure: int) -> str:
    """A sign beside the colour, for who does not see it."""
    return (
        ""
        if sure == 0
        else f'<b class="{"better" if sure > 0 else "worse"}">{"▲" if sure > 0 else "▼"}</b>'
    )
