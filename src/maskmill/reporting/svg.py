"""Charts as SVG markup, sharp at any size and with selectable text; all text is escaped.

Drawn here and not by a plotting library: a precision chart takes 5 KB and 1 ms, with matplotlib
18 KB and 60 ms, and the charts share the page's colours, dashes and font.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

Point = tuple[float, float]  # fractions of both axes, from the lower left corner
Tick = tuple[float, str]  # a fraction of the axis, and its label
LEFT, TOP, SIDE, BELOW = 42, 8, 240, 38  # px: the margins of a chart and its square plot area
RIGHT = LEFT + SIDE
BOTTOM = TOP + SIDE
WIDTH = RIGHT + 14
HEIGHT = BOTTOM + BELOW
DOT_RADIUS = 3.5  # px
LETTER_PX = 6.1  # mean width of a letter
ROW_PX = 13  # between two rows of labels
PERCENT_TICKS = ((0, "0"), (0.25, "25"), (0.5, "50"), (0.75, "75"), (1, "100"))


@dataclass(frozen=True)
class Axis:
    """The name of an axis and its ticks; by default from 0 to 100 percent."""

    name: str
    ticks: Sequence[Tick] = PERCENT_TICKS


def draw_svg(
    width: float, height: float, shapes: Iterable[Markup], *, label: str, css_class: str = "chart"
) -> Markup:
    """A drawing that shrinks with the page and never grows beyond its own size in px.

    Args:
        width: px.
        height: px.
        shapes: SVG elements.
        label: description for screen readers.
        css_class: its style in the base template.
    """
    start = Markup(
        '<svg class="{}" viewBox="0 0 {:g} {:g}" style="width:{:g}px" role="img" aria-label="{}">'
    )
    content = Markup("").join(shapes)
    return start.format(css_class, width, height, width, label) + content + Markup("</svg>")


def draw_text(
    x: float, y: float, text: str, *, anchor: str = "start", css_class: str = ""
) -> Markup:
    """A line of text; `anchor` is "start", "middle" or "end"."""
    element = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>')
    return element.format(x, y, anchor, css_class, text)


def draw_chart(shapes: Iterable[Markup], *, label: str, x_axis: Axis, y_axis: Axis) -> Markup:
    """A square chart: grid, axis labels and, on top of them, the shapes of `draw_line` and so on.

    Args:
        shapes: SVG elements in the plot area.
        label: description for screen readers.
        x_axis: horizontal axis.
        y_axis: vertical axis.
    """
    frame = []
    num_rows = 1 if have_room(x_axis.ticks) else 2  # neighbours lie in different ones
    for index, (position, text) in enumerate(sorted(x_axis.ticks)):
        x = svg_x(position)
        frame.append(Markup('<path class="grid" d="M{:.1f} {}V{}"/>').format(x, TOP, BOTTOM))
        y = BOTTOM + 14 + ROW_PX * (index % num_rows)
        if x + _label_px(text) / 2 > WIDTH:
            frame.append(draw_text(WIDTH, y, text, anchor="end"))
        else:
            frame.append(draw_text(x, y, text, anchor="middle"))
    height = HEIGHT + ROW_PX * (num_rows - 1)
    for position, text in y_axis.ticks:
        y = svg_y(position)
        frame.append(Markup('<path class="grid" d="M{} {:.1f}H{}"/>').format(LEFT, y, RIGHT))
        frame.append(draw_text(LEFT - 5, y + 4, text, anchor="end"))
    frame.append(draw_text(LEFT + SIDE / 2, height - 6, x_axis.name, anchor="middle"))
    middle = TOP + SIDE / 2
    name = draw_text(10, middle, y_axis.name, anchor="middle")
    frame.append(Markup('<g transform="rotate(-90 10 {:g})">{}</g>').format(middle, name))
    return draw_svg(WIDTH, height, [*frame, *shapes], label=label)


def _label_px(text: str) -> float:
    return LETTER_PX * len(text)


def have_room(ticks: Sequence[Tick]) -> bool:
    """Does each label of a horizontal axis end before the next one begins?"""
    for (left, before), (right, after) in pairwise(sorted(ticks)):
        if SIDE * (right - left) < (_label_px(before) + _label_px(after)) / 2:
            return False
    return True


def draw_line(points: Iterable[Point], *, css_class: str) -> Markup:
    """A line through points of a chart."""
    corners = []
    for x, y in points:
        corners.append(f"{svg_x(x):.1f} {svg_y(y):.1f}")
    return Markup('<path class="{}" d="M{}"/>').format(css_class, "L".join(corners))


def draw_dots(points: Iterable[Point], titles: Iterable[str], *, css_class: str) -> Markup:
    """Dots in a chart, each with a title shown when the pointer is on it."""
    element = Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title></circle>')
    dots = []
    for (x, y), title in zip(points, titles, strict=True):
        dots.append(element.format(css_class, svg_x(x), svg_y(y), DOT_RADIUS, title))
    return Markup("").join(dots)


def draw_columns(heights: Sequence[float], *, css_class: str) -> Markup:
    """Columns that divide the width of a chart evenly; heights are fractions."""
    width = SIDE / len(heights)
    outlines = []
    for index, height in enumerate(heights):
        left = LEFT + index * width + 1
        outlines.append(f"M{left:.1f} {BOTTOM}v{-SIDE * height:.1f}h{width - 2:.1f}V{BOTTOM}z")
    return Markup('<path class="{}" d="{}"/>').format(css_class, "".join(outlines))


def svg_x(fraction: float) -> float:
    """The px of a fraction of the horizontal axis."""
    return LEFT + SIDE * fraction


def svg_y(fraction: float) -> float:
    """The px of a fraction of the vertical axis."""
    return TOP + SIDE * (1 - fraction)
