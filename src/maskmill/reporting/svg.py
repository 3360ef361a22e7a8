"""Drawings a page holds as markup: sharp at any size, their text can be selected."""

from collections.abc import Iterable, Sequence
from html import escape

Point = tuple[float, float]  # fractions of both axes, from the lower left
Tick = tuple[float, str]  # a fraction of an axis, and what stands there
LEFT, TOP, SIDE, BELOW = 42, 8, 240, 38  # px of a chart's margins and of its square plot
WIDTH, HEIGHT = LEFT + SIDE + 14, TOP + SIDE + BELOW
TICKS = (0, 0.25, 0.5, 0.75, 1)


def drawing(width: float, height: float, content: str, *, label: str, kind: str = "chart") -> str:
    """A drawing that shrinks with the page and is never larger than its own size; the label is for those who hear the page."""
    box = f'viewBox="0 0 {width:g} {height:g}" style="width:{width:g}px"'
    return f'<svg class="{kind}" {box} role="img" aria-label="{escape(label)}">{content}</svg>'


def words(x: float, y: float, text: str, *, anchor: str = "start", kind: str = "") -> str:
    """A line of text, plain; anchor: "start", "middle" or "end"."""
    of_kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{of_kind}>{escape(text)}</text>'


def square_chart(lines: Iterable[str], *, label: str, across: str, up: str) -> str:
    """A chart whose axes both go from 0 to 100 percent.

    Args:
        lines: markup inside the plot, as from `line`.
        label: what it shows.
        across: name of the horizontal axis.
        up: name of the vertical one.
    """
    ticks = [(tick, f"{100 * tick:g}") for tick in TICKS]
    return chart(lines, label=label, across=across, up=up, ticks_across=ticks, ticks_up=ticks)


def chart(
    lines: Iterable[str],
    *,
    label: str,
    across: str,
    up: str,
    ticks_across: Iterable[Tick],
    ticks_up: Iterable[Tick],
) -> str:
    """A square chart with axes of any kind; ticks are places on an axis, as fractions, and their words."""
    grid = []
    for at, text in ticks_across:
        x, _ = _place((at, 0))
        grid += [
            f'<path class="grid" d="M{x:.1f} {TOP}V{TOP + SIDE}"/>',
            words(x, TOP + SIDE + 14, text, anchor="middle"),
        ]
    for at, text in ticks_up:
        _, y = _place((0, at))
        grid += [
            f'<path class="grid" d="M{LEFT} {y:.1f}H{LEFT + SIDE}"/>',
            words(LEFT - 5, y + 4, text, anchor="end"),
        ]
    middle = TOP + SIDE / 2
    names = [
        words(LEFT + SIDE / 2, HEIGHT - 6, across, anchor="middle"),
        f'<g transform="rotate(-90 10 {middle:g})">{words(10, middle, up, anchor="middle")}</g>',
    ]
    return drawing(WIDTH, HEIGHT, "".join([*grid, *names, *lines]), label=label)


def line(points: Sequence[Point], *, kind: str) -> str:
    """A line through points of a square chart, in the style of a class of the page's."""
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in map(_place, points))
    return f'<path class="{kind}" d="M{path}"/>'


def dots(points: Iterable[Point], titles: Iterable[str], *, kind: str) -> str:
    """Dots in a square chart, each with a title that a pointer shows."""
    placed = zip(map(_place, points), titles, strict=True)
    return "".join(
        f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"><title>{escape(title)}</title></circle>'
        for (x, y), title in placed
    )


def columns(heights: Sequence[float], *, kind: str) -> str:
    """Columns that divide the width of a square chart evenly; heights are fractions."""
    width = SIDE / len(heights)
    shapes = (
        f"M{LEFT + place * width + 1:.1f} {TOP + SIDE}v{-SIDE * height:.1f}h{width - 2:.1f}V{TOP + SIDE}z"
        for place, height in enumerate(heights)
    )
    return f'<path class="{kind}" d="{"".join(shapes)}"/>'


def _place(point: Point) -> Point:
    return LEFT + SIDE * point[0], TOP + SIDE * (1 - point[1])
