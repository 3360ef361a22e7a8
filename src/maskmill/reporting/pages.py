"""HTML pages from Jinja2 templates: every value is escaped, and no page needs another file."""

from jinja2 import Environment, PackageLoader, StrictUndefined

MINUS = "\N{MINUS SIGN}"
EN_DASH = "\N{EN DASH}"


def format_percent(fraction: float | None) -> str:
    """A fraction in percent with one decimal; a dash for None."""
    return "-" if fraction is None else f"{100 * fraction:.1f}"


def format_points(difference: float | None) -> str:
    """A difference of two fractions in percentage points with its sign; a dash for None."""
    if difference is None:
        return "-"
    text = f"{abs(100 * difference):.1f}"
    if text == "0.0":
        return text
    sign = "+" if difference > 0 else MINUS
    return sign + text


def format_interval(bounds: tuple[float, float] | None) -> str:
    """An interval in percent; empty for None."""
    if bounds is None:
        return ""
    low, high = bounds
    return f"{format_percent(low)}{EN_DASH}{format_percent(high)}"


def render_page(template: str, **values: object) -> str:
    """The HTML of one page.

    Args:
        template: file name in `templates/` without `.html.jinja`.
        **values: what the template shows; strings are escaped, `markupsafe.Markup` is not.
    """
    return ENVIRONMENT.get_template(f"{template}.html.jinja").render(values)


ENVIRONMENT = Environment(
    loader=PackageLoader("maskmill.reporting", "templates"),  # named: code digests follow it
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
ENVIRONMENT.filters["percent"] = format_percent
ENVIRONMENT.filters["points"] = format_points
ENVIRONMENT.filters["interval"] = format_interval
