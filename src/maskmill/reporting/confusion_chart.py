"""What is taken for what, drawn."""

from html import escape

import numpy as np
import numpy.typing as npt

from maskmill.reporting.svg import drawing, words

CELL = 28  # px
LETTER = 5.6  # px: the mean width of a letter
MAX_NAME = 22  # letters; longer names are cut, and whole in the titles
SHOWN = 0.0005  # a smaller share of a row has no cell
FULL = (
    0,
    61,
    112,
)  # the colour of 100 %; from white to it lightness alone tells, whatever colours one sees
DARK = 0.69  # a larger share has its number in white: either contrast is 4.5 or more


def confusion_chart(matrix: npt.NDArray[np.int64], names: list[str]) -> str:
    """The confusion matrix, each row in percent of its true class's pixels, as SVG.

    Args:
        matrix: (K + 1, K + 1) pixels, truth in rows.
        names: of its rows, the last that of unlabelled pixels; classes without a pixel are left out.
    """
    occurs = (matrix.sum(axis=0) + matrix.sum(axis=1)) > 0
    occurs[-1] = True
    kept, names = (
        matrix[occurs][:, occurs],
        [name for name, keep in zip(names, occurs, strict=True) if keep],
    )
    share = kept / np.maximum(kept.sum(axis=1, keepdims=True), 1)
    short = [
        name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "\N{HORIZONTAL ELLIPSIS}"
        for name in names
    ]
    left = 20 + LETTER * max(map(len, short))
    top = left * 0.8 + 10  # the names above stand at 55 degrees
    side = CELL * len(names)
    parts = []
    for place, name in enumerate(short):
        middle = CELL * (place + 0.5)
        parts.append(words(left - 5, top + middle + 4, name, anchor="end"))
        parts.append(
            f'<g transform="translate({left + middle + 3:.1f} {top - 6:.1f}) rotate(-55)">{words(0, 0, name)}</g>'
        )
    for row, column in np.argwhere(share >= SHOWN).tolist():
        parts.append(
            _cell(
                left + CELL * column,
                top + CELL * row,
                float(share[row, column]),
                f"{names[row]} taken for {names[column]}",
            )
        )
    parts.append(f'<rect class="frame" x="{left:g}" y="{top:g}" width="{side}" height="{side}"/>')
    width = left + side + 0.6 * left
    return f'<div class="scroll">{drawing(width, top + side + 4, "".join(parts), label="confusion matrix", kind="chart wide")}</div>'


def _cell(x: float, y: float, share: float, title: str) -> str:
    color = "#{:02x}{:02x}{:02x}".format(*shade(share))
    number = words(
        x + CELL / 2,
        y + CELL / 2 + 3.5,
        f"{100 * share:.0f}",
        anchor="middle",
        kind="light" if share > DARK else "dark",
    )
    box = f'<rect x="{x:.1f}" y="{y:.1f}" width="{CELL}" height="{CELL}" fill="{color}"/>'
    return f"<g><title>{escape(title)}: {100 * share:.1f} %</title>{box}{number if share >= 0.005 else ''}</g>"


def shade(share: float) -> tuple[int, ...]:
    """The colour of a share in 0..1, red, green and blue 0..255."""
    return tuple(round(255 + share * (channel - 255)) for channel in FULL)
