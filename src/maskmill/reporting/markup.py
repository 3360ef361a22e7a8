"""The small pieces of a page: numbers, bars, keys and tables, with every name escaped."""

from collections.abc import Iterable, Sequence
from html import escape

from maskmill.canonical.categories import Categories, Category

MINUS = "\N{MINUS SIGN}"


def percent(value: float | None) -> str:
    """A fraction in percent, to a tenth; a dash where there is none."""
    return "-" if value is None else f"{100 * value:.1f}"


def points(value: float | None) -> str:
    """A difference of fractions in percentage points, with its sign."""
    if value is None:
        return "-"
    text = f"{abs(100 * value):.1f}"
    return text if text == "0.0" else f"{'+' if value > 0 else MINUS}{text}"


def span(bounds: tuple[float, float] | None) -> str:
    """An interval in percent."""
    return "" if bounds is None else f"{percent(bounds[0])}\N{EN DASH}{percent(bounds[1])}"


def bar(value: object, bounds: tuple[float, float] | None = None) -> str:
    """A table cell with a bar as long as the fraction, and a line from the lower to the upper bound."""
    if not isinstance(value, float):
        return "<td>-</td>"
    whisker, title = "", ""
    if bounds is not None:
        whisker = f'<i style="--low:{percent(bounds[0])}%;--high:{percent(bounds[1])}%"></i>'
        title = f' title="95 %: {span(bounds)}"'
    return (
        f'<td class="bar" style="--share:{percent(value)}%"{title}>{whisker}{percent(value)}</td>'
    )


def swatch(category: Category) -> str:
    """A class's colour."""
    return f'<i class="swatch" style="background:rgb{category.color}"></i>'


def key(category: Category, categories: Categories) -> str:
    """A class's colour, number and name."""
    return f"{swatch(category)}{categories.index[category.id] + 1}&nbsp;{escape(category.name)}"


def table(head: Sequence[str], rows: Iterable[str], *, kind: str = "") -> str:
    """A table that scrolls where it is wider than the page, from column names, plain text, and rows of cells, markup."""
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    of_kind = f' class="{kind}"' if kind else ""
    return f'<div class="scroll"><table{of_kind}><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table></div>'


def folded(summary: str, content: str) -> str:
    """Content that a click shows; the summary is plain text."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"
