"""The pictures of `dvc plots show` and `dvc plots diff`: SVG files that need no network."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from maskmill.canonical.files import write_text
from maskmill.evaluation.analysis import Analysis
from maskmill.evaluation.deciding import Task
from maskmill.evaluation.learning_curves import Row
from maskmill.reporting.confusion_chart import LETTER, draw_confusion_matrix, shorten
from maskmill.reporting.learning_charts import learning_figures
from maskmill.reporting.pages import ENVIRONMENT, format_percent
from maskmill.reporting.score_tables import LossBar, loss_bars, tabulate_classes
from maskmill.reporting.svg import draw_svg, draw_text

SIZE = re.compile(r'viewBox="0 0 (\S+) (\S+)"')
PLOTS = "plots"  # in the folder of an evaluation
BAR, GAP, WIDTH = 18, 6, 420  # px: height of a bar, space between groups, length of 100 %
KEY = 130  # px: width of an entry of the legend
ROOM = 26  # px: a shorter part has no number
METRIC_COLORS = {"PQ": "#0072b2", "IoU": "#e69f00", "AP": "#009e73"}  # Okabe and Ito
PART_COLORS = {
    "PQ": "#7db8dd",
    "missed": "#f3c04d",
    "background": "#dd7a3c",
    "classification": "#e3b3cd",
    "localization": "#f2f2f2",
}
MARGIN = 12  # px
TITLE = 26  # px: height of the line above a picture
LARGE = 1.4  # a letter of the title, in letters of a label
CONFUSION = "Predicted classes, percent of each true class (row)"


def write_plots(folder: Path, analysis: Analysis, task: Task, history: Sequence[Row] = ()) -> None:
    """Write a picture for each chart that has something to show.

    Args:
        folder: is created.
        analysis: of the evaluation.
        task: of the model.
        history: the learning curves of the model.
    """
    evaluation = analysis.evaluation
    names = [category.name for category in evaluation.categories]
    names.append("background" if evaluation.background else "void")
    pictures = {
        "classes": ("Scores of each class, percent", draw_class_bars(analysis, task)),
        "confusion": (CONFUSION, draw_confusion_matrix(evaluation.confusion, names)),
        "pq": ("PQ and what it lacks, percent", draw_loss_bars(loss_bars(analysis, task))),
    }
    for index, figure in enumerate(learning_figures(history, task.metric), start=1):
        pictures[f"training-{index}"] = (figure.caption, figure.chart)
    for name, (title, picture) in pictures.items():
        if picture:
            write_text(folder / f"{name}.svg", standalone(picture, title))


def standalone(drawing: Markup, title: str) -> str:
    """A drawing as a file of its own, which brings its title, size, styles and background."""
    size = SIZE.search(drawing)
    assert size is not None
    width = max(float(size[1]), 2 * MARGIN + LETTER * LARGE * len(title))
    attributes = Markup(
        'xmlns="http://www.w3.org/2000/svg" width="{0:g}" height="{1:g}" viewBox="0 0 {0:g} {1:g}"'
    ).format(width, float(size[2]) + TITLE)
    style = ENVIRONMENT.get_template("charts.css.jinja").render()
    background = '<rect width="100%" height="100%" fill="#fff"/>'
    heading = draw_text(MARGIN, TITLE - 8, title, css_class="title")
    shapes = drawing.partition(">")[2].removesuffix("</svg>")
    return (
        f"<svg {attributes}><style>{style}</style>{background}{heading}"
        f'<g transform="translate(0 {TITLE})">{shapes}</g></svg>\n'
    )


def draw_class_bars(analysis: Analysis, task: Task) -> Markup:
    """PQ, IoU and, where segments have scores, AP of each class that occurs; else nothing."""
    table = tabulate_classes(analysis, task)
    groups: list[tuple[str, dict[str, float]]] = []
    for row in table.rows:
        scores = {}
        for score in row.scores:
            if score.name in METRIC_COLORS and score.value is not None:
                scores[score.name] = score.value
        groups.append((row.key.name, scores))
    shapes = []
    left = _left(name for name, _ in groups)
    y = float(2 * MARGIN + BAR)
    for name, scores in groups:
        middle = y + BAR * len(scores) / 2 + 4
        shapes.append(draw_text(left - GAP, middle, shorten(name), anchor="end"))
        for metric, value in scores.items():
            shapes.append(_bar(left, y, value, METRIC_COLORS[metric], f"{name}, {metric}"))
            number = draw_text(left + WIDTH * value + 4, y + BAR - 5, format_percent(value))
            shapes.append(number)
            y += BAR
        y += GAP
    used = {metric: color for metric, color in METRIC_COLORS.items() if _uses(groups, metric)}
    return _chart(left, y, shapes, used, "scores of each class, percent") if groups else Markup("")


def draw_loss_bars(bars: Sequence[LossBar]) -> Markup:
    """PQ of all classes and of each, and by which mistakes the rest was lost; else nothing."""
    names = ["all classes" if bar.key is None else bar.key.name for bar in bars]
    shapes = []
    left = _left(names)
    y = float(2 * MARGIN + BAR)
    for name, bar in zip(names, bars, strict=True):
        shapes.append(draw_text(left - GAP, y + BAR - 5, shorten(name), anchor="end"))
        x = float(left)
        for part, share in bar.shares.items():
            shapes.append(_bar(x, y, share, PART_COLORS[part], f"{name}, {part}"))
            if WIDTH * share >= ROOM:
                middle = x + WIDTH * share / 2
                number = format_percent(share)
                shapes.append(draw_text(middle, y + BAR - 5, number, anchor="middle"))
            x += WIDTH * share
        y += BAR + GAP
    title = "PQ and what it lacks to 100 percent"
    return _chart(left, y, shapes, PART_COLORS, title) if bars else Markup("")


def _left(names: Iterable[str]) -> float:
    """The width of the column with the names."""
    return 20 + LETTER * max((len(shorten(name)) for name in names), default=0)


def _uses(groups: Iterable[tuple[str, Mapping[str, float]]], metric: str) -> bool:
    return any(metric in scores for _, scores in groups)


def _bar(x: float, y: float, share: float, color: str, name: str) -> Markup:
    element = Markup(
        '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{}" fill="{}" stroke="#444" '
        'stroke-width=".5"><title>{}</title></rect>'
    )
    title = f"{name}: {format_percent(share)} %"
    return element.format(x, y, WIDTH * share, BAR - 2, color, title)


def _chart(
    left: float, height: float, shapes: list[Markup], colors: Mapping[str, str], label: str
) -> Markup:
    """The shapes below a legend of the colours."""
    legend = []
    for index, (name, color) in enumerate(colors.items()):
        x = MARGIN + KEY * index
        swatch = Markup('<rect x="{}" y="{}" width="14" height="14" fill="{}" stroke="#444"/>')
        legend.append(swatch.format(x, MARGIN, color))
        legend.append(draw_text(x + 20, MARGIN + 11, name))
    width = max(left + WIDTH + 50, MARGIN + KEY * len(colors))
    return draw_svg(width, height + MARGIN, [*legend, *shapes], label=label)
