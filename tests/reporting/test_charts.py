"""Charts as markup: where points lie, and that lines differ by more than colour."""

import re

import numpy as np
import pytest
from markupsafe import escape

from maskmill.evaluation.comparison import Difference
from maskmill.metrics.functional.calibration_error import reliability
from maskmill.metrics.functional.panoptic_quality import LOSSES
from maskmill.reporting import svg
from maskmill.reporting.confusion_chart import DARK, draw_confusion_matrix, shade
from maskmill.reporting.curve_charts import LEVELS, precision_figures, reliability_figure
from maskmill.reporting.difference_tables import tabulate_differences
from maskmill.reporting.pages import ENVIRONMENT
from maskmill.reporting.score_tables import LossBar
from parsed_page import Page

STYLES = "".join(
    ENVIRONMENT.loader.get_source(ENVIRONMENT, name)[0]
    for name in ("base.html.jinja", "charts.css.jinja")
)


def numbers(text):
    return [float(number) for number in re.findall(r"[\d.]+", text)]


def style_of(selector):
    """The declarations of a rule in the templates."""
    return re.search(rf"{re.escape(selector)} {{([^}}]*)}}", STYLES)[1]


def test_a_line_goes_through_its_points():
    path = svg.draw_line([(0, 0), (1, 1)], css_class="first")
    lower_left = [svg.LEFT, svg.TOP + svg.SIDE]
    upper_right = [svg.LEFT + svg.SIDE, svg.TOP]
    assert numbers(re.search(r'd="M([^"]+)"', path)[1]) == lower_left + upper_right


def test_texts_of_a_chart_are_escaped():
    shapes = [svg.draw_dots([(0, 0)], ["<title>"], css_class="dot")]
    axis = svg.Axis("<name>", [(0, "<tick>")])
    chart = svg.draw_chart(shapes, label='"<label>', x_axis=axis, y_axis=axis)
    for text in ("<title>", "<name>", "<tick>", '"<label>'):
        assert f">{escape(text)}<" in chart or f'"{escape(text)}"' in chart


def test_precision_is_averaged_over_the_classes_with_ground_truth():
    precision = np.full((10, 101, 3), -1.0)
    precision[..., 0] = 1.0
    precision[..., 1] = 0.5
    figures = precision_figures(precision, ["cat", "<dog>", "absent"])
    captions = [figure.caption for figure in figures.classes]
    assert figures.mean.caption == "all classes, AP 75.0"
    assert captions == ["cat, AP 100.0", "<dog>, AP 50.0"]
    assert "&lt;dog&gt;" in figures.classes[1].chart
    assert figures.num_classes == 2


def test_without_ground_truth_there_is_no_precision_chart():
    assert precision_figures(np.full((10, 101, 1), -1.0), ["absent"]) is None


def test_reliability_shows_the_accuracy_of_each_bin():
    scores = np.array([0.95, 0.95, 0.95, 0.95, 0.15])
    correct = np.array([True, True, False, False, False])
    figure = reliability_figure(reliability(scores, correct))
    assert "confidence 95.0 %: 50.0 % of 4 correct" in figure.chart
    assert "confidence 15.0 %: 0.0 % of 1 correct" in figure.chart
    assert figure.chart.count("<circle") == 2
    # 4/5 of 0.45 and 1/5 of 0.15
    assert figure.caption.startswith("Expected calibration error 39.0.")


@pytest.mark.slow
def test_a_confusion_matrix_of_many_oddly_named_classes_is_drawn():
    matrix = np.random.default_rng(0).integers(1, 9, (41, 41))
    names = [f"$\\frac{{{number}}}$ <b>" for number in range(40)]
    page = Page(draw_confusion_matrix(matrix, [*names, "void"]))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("rect") == 1 + 41 * 41
    assert "b" not in tags


def test_a_row_of_the_confusion_matrix_is_the_share_of_a_ground_truth_class():
    # 4 pixels of the first class: 3 are right, 1 is predicted as the second.
    matrix = np.array([[3, 1, 0], [0, 0, 0], [0, 0, 0]])
    text = Page(draw_confusion_matrix(matrix, ["cat", "dog", "void"])).text
    assert "cat predicted as cat: 75.0 %" in text
    assert "cat predicted as dog: 25.0 %" in text
    assert text.count(" predicted as ") == 2


def test_a_stack_is_as_wide_as_its_parts_together():
    shares = dict(zip(["PQ", *LOSSES], (0.5, 0.2, 0.1, 0.0, 0.2), strict=True))
    sections = ENVIRONMENT.get_template("sections.html.jinja").module
    text = sections.losses([LossBar(None, shares)])
    widths = [float(width) for width in re.findall(r"width:([\d.]+)%", text)]
    assert widths == [50, 20, 10, 20]  # no part for 0
    assert sum(widths) == 100


def test_every_loss_has_a_pattern_of_its_own():
    patterns = [re.search(r"background-image: ([^;]*);", style_of(f".part.{x}"))[1] for x in LOSSES]
    assert len(set(patterns)) == len(LOSSES)
    assert "background-image" not in style_of(".part.PQ")


def test_every_line_has_a_dash_of_its_own():
    dashes = set()
    for level in LEVELS:
        dash = re.search(r"stroke-dasharray: ([^;]*);", style_of(f".{level.css_class}"))
        dashes.add(dash and dash[1])
    assert len(dashes) == len(LEVELS)


def luminance(color):
    """Relative luminance of sRGB (WCAG 2.1)."""
    channels = np.array(color) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def test_the_confusion_matrix_gets_darker_with_the_share():
    luminances = [luminance(shade(share)) for share in np.linspace(0, 1, 101)]
    assert (np.diff(luminances) < 0).all()


@pytest.mark.parametrize("share", np.linspace(0, 1, 101))
def test_the_numbers_of_the_confusion_matrix_have_enough_contrast(share):
    value = luminance(shade(share))
    contrast = 1.05 / (value + 0.05) if share > DARK else (value + 0.05) / 0.05
    assert contrast >= 4.5  # WCAG 2.1, AA


def test_labels_of_an_axis_do_not_overlap_and_stay_inside_the_chart():
    names = ["unet", "fpn", "deeplabv3plus", "eomt", "panoptic_dee…", "mask2former"]
    ticks = [(index / 5, name) for index, name in enumerate(names)]
    chart = svg.draw_chart([], label="", x_axis=svg.Axis("network", ticks), y_axis=svg.Axis("y"))
    element = re.compile(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)" class="">([^<]*)<')
    rows = {}
    for x, y, anchor, text in element.findall(chart):
        if text in [*names, "network"]:
            width = 6.1 * len(text)  # the mean width of a letter of 11 px
            left = float(x) - {"start": 0, "middle": width / 2, "end": width}[anchor]
            rows.setdefault(float(y), []).append((left, left + width))
    edges = [edge for row in rows.values() for span in sorted(row) for edge in span]
    assert len(edges) == 14
    assert 0 <= min(edges) < max(edges) <= svg.WIDTH
    for row in rows.values():
        row = [edge for span in sorted(row) for edge in span]
        assert row == sorted(row)
    below = sorted(rows)
    assert all(low - high >= 11 for high, low in zip(below, below[1:], strict=False))


def test_better_and_worse_are_marked_by_a_sign():
    differences = [
        Difference("all", "", "PQ", 0.6, 0.5, (0.05, 0.15), 1.0),
        Difference("all", "", "mIoU", 0.4, 0.5, (-0.15, -0.05), 0.0),
        Difference("all", "", "AP", 0.5, 0.5, (-0.1, 0.1), 0.5),
        Difference("all", "", "PQ/lost/missed", 0.1, 0.2, (-0.15, -0.05), 1.0),
        Difference("class", "<car>", "PQ", None, 0.5, None, None),
    ]
    tables = tabulate_differences(differences, num_resamples=10)
    text = ENVIRONMENT.get_template("differences.html.jinja").module.difference_tables(tables)
    cells = {}
    for row in re.findall(r"<tr>(<td>[^<].*?)</tr>", text, re.DOTALL):
        columns = re.findall(r"<td>(.*?)</td>", row, re.DOTALL)
        cells[columns[0]] = columns[3].strip()
    assert "▲" in cells["PQ"]
    assert "▼" in cells["mIoU"]
    assert cells["AP"] == "0.0"
    assert "▲" in cells["PQ/lost/missed"]  # less is better
    assert cells["&lt;car&gt;"] == "-"
