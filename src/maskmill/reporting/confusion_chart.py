"""A confusion matrix as a chart."""

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from maskmill.reporting.svg import draw_svg, draw_text

CELL = 28  # px
LETTER = 5.6  # px: the mean width of a letter
MAX_LETTERS = 22  # of a label; longer names are shortened here and complete in the cells' titles
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
MIN_SHARE = 0.0005  # cells of a smaller share are not drawn
MIN_LABELLED = 0.005  # cells of a smaller share have no number
FULL = (0, 61, 112)  # colour of 100 %; lightness alone is enough to read the scale from white
DARK = 0.69  # cells of a larger share have a white number: either contrast is at least 4.5


def draw_confusion_matrix(matrix: npt.NDArray[np.int64], names: list[str]) -> Markup:
    """The confusion matrix in percent of each row, that is of the pixels of a ground-truth class.

    Args:
        matrix: (K + 1, K + 1) pixels; ground truth in rows, predictions in columns.
        names: of the K + 1 rows, the last one for unlabelled pixels. Other classes without a pixel
            are left out.
    """
    occurs = (matrix.sum(axis=0) + matrix.sum(axis=1)) > 0
    occurs[-1] = True
    kept = np.flatnonzero(occurs).tolist()
    counts = matrix[occurs][:, occurs]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [names[index] for index in kept]
    labels = [shorten(name) for name in names]
    left = 20 + LETTER * max(map(len, labels))
    top = left * 0.8 + 10  # the column labels are rotated by 55 degrees
    side = CELL * len(names)
    shapes = []
    for index, label in enumerate(labels):
        middle = CELL * (index + 0.5)
        shapes.append(draw_text(left - 5, top + middle + 4, label, anchor="end"))
        shapes.append(_draw_column_label(left + middle + 3, top - 6, label))
    for row, column in np.argwhere(shares >= MIN_SHARE).tolist():
        title = f"{names[row]} predicted as {names[column]}"
        x = left + CELL * column
        y = top + CELL * row
        shapes.append(_draw_cell(x, y, float(shares[row, column]), title))
    frame = Markup('<rect class="frame" x="{:g}" y="{:g}" width="{}" height="{}"/>')
    shapes.append(frame.format(left, top, side, side))
    width = left + side + 0.6 * left
    return draw_svg(width, top + side + 4, shapes, label="confusion matrix", css_class="chart wide")


def shade(share: float) -> tuple[int, ...]:
    """The colour of a share in 0..1: red, green and blue in 0..255."""
    return tuple(round(255 + share * (channel - 255)) for channel in FULL)


def _draw_column_label(x: float, y: float, label: str) -> Markup:
    text = draw_text(0, 0, label)
    return Markup('<g transform="translate({:.1f} {:.1f}) rotate(-55)">{}</g>').format(x, y, text)


def _draw_cell(x: float, y: float, share: float, title: str) -> Markup:
    color = "#{:02x}{:02x}{:02x}".format(*shade(share))
    rect = Markup('<rect x="{:.1f}" y="{:.1f}" width="{}" height="{}" fill="{}"/>')
    box = rect.format(x, y, CELL, CELL, color)
    css_class = "light" if share > DARK else "dark"
    center = x + CELL / 2
    number = Markup("")
    if share >= MIN_LABELLED:
        percent = f"{100 * share:.0f}"
        baseline = y + CELL / 2 + 3.5
        number = draw_text(center, baseline, percent, anchor="middle", css_class=css_class)
    title = f"{title}: {100 * share:.1f} %"
    return Markup("<g><title>{}</title>{}{}</g>").format(title, box, number)


def shorten(name: str) -> str:
    """A name that fits beside a chart."""
    return name if len(name) <= MAX_LETTERS else name[: MAX_LETTERS - 1] + ELLIPSIS
