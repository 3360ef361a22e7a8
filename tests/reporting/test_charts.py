"""Charts as markup: where points lie, and that lines differ by more than colour."""

import re

import numpy as np
import pytest

from maskmill.evaluation.comparison import Difference
from maskmill.metrics.functional.calibration_error import reliability
from maskmill.reporting import svg
from maskmill.reporting.confusion_chart import DARK, shade
from maskmill.reporting.curves import precision_charts, reliability_chart
from maskmill.reporting.difference_table import difference_tables
from maskmill.reporting.losses import PARTS, losses
from maskmill.reporting.markup import percent, points, span
from maskmill.reporting.page import STYLE


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1234, "+12.3"),
        (-0.1234, "\N{MINUS SIGN}12.3"),
        (0.0, "0.0"),
        (-0.0001, "0.0"),
        (None, "-"),
    ],
)
def test_differences_have_a_sign_unless_they_are_nothing(value, text):
    assert points(value) == text


def test_fractions_are_shown_in_percent():
    assert (percent(0.98765), percent(None), span((0.5, 0.625)), span(None)) == (
        "98.8",
        "-",
        "50.0\N{EN DASH}62.5",
        "",
    )


def test_a_line_goes_through_its_points():
    path = svg.line([(0, 0), (1, 1)], kind="first")
    numbers = [
        float(number) for number in re.findall(r"[\d.]+", re.search(r'd="M([^"]+)"', path)[1])
    ]
    assert numbers == [
        svg.LEFT,
        svg.TOP + svg.SIDE,
        svg.LEFT + svg.SIDE,
        svg.TOP,
    ]  # lower left to upper right


def test_precision_is_averaged_over_the_classes_the_truth_has():
    precision = np.full((10, 101, 3), -1.0)
    precision[..., 0], precision[..., 1] = 1.0, 0.5
    text = precision_charts(precision, ["cat", "<dog>", "absent"])
    assert "all classes, AP 75.0" in text
    assert "cat, AP 100.0" in text
    assert "&lt;dog&gt;, AP 50.0" in text
    assert "absent" not in text
    assert precision_charts(np.full((10, 101, 1), -1.0), ["absent"]) == ""


def test_reliability_shows_the_share_right_in_each_bin():
    scores, right = (
        np.array([0.95, 0.95, 0.95, 0.95, 0.15]),
        np.array([True, True, False, False, False]),
    )
    text = reliability_chart(reliability(scores, right))
    assert "confidence 95.0 %: 50.0 % of 4 right" in text
    assert "confidence 15.0 %: 0.0 % of 1 right" in text
    assert "Calibration error 39.0" in text  # 4/5 of 0.45 and 1/5 of 0.15
    assert text.count("<circle") == 2


def test_a_stack_is_as_wide_as_its_parts_together():
    text = losses([("all", (0.5, 0.2, 0.1, 0.0, 0.2))])
    widths = [float(width) for width in re.findall(r"width:([\d.]+)%", text)]
    assert widths == [50, 20, 10, 20]  # none for nothing
    assert sum(widths) == 100


def test_every_part_and_line_has_a_pattern_of_its_own():
    patterns = [re.search(rf"\.part\.{name} {{([^}}]*)}}", STYLE)[1] for name in PARTS]
    images = [re.search(r"background-image: ([^;]*);", pattern) for pattern in patterns]
    assert len({image and image[1] for image in images}) == len(PARTS)
    dashes = [
        re.search(rf"\.{name} {{[^}}]*stroke-dasharray: ([^;]*);", STYLE)
        for name in ("first", "second", "third")
    ]
    assert len({dash and dash[1] for dash in dashes}) == 3


def luminance(color):
    """Relative luminance of sRGB (WCAG 2.1)."""
    linear = [
        channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
        for channel in np.array(color) / 255
    ]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_the_matrix_gets_darker_with_the_share_and_its_numbers_stay_readable():
    shares = np.linspace(0, 1, 101)
    light = [luminance(shade(share)) for share in shares]
    assert all(later < earlier for earlier, later in zip(light, light[1:], strict=False))
    for share, value in zip(shares, light, strict=True):
        contrast = 1.05 / (value + 0.05) if share > DARK else (value + 0.05) / 0.05
        assert contrast >= 4.5, share  # WCAG 2.1, AA


def test_better_and_worse_are_marked_by_a_sign():
    rows = [
        Difference("all", "", "PQ", 0.6, 0.5, (0.05, 0.15), 1.0),
        Difference("all", "", "mIoU", 0.4, 0.5, (-0.15, -0.05), 0.0),
        Difference("all", "", "AP", 0.5, 0.5, (-0.1, 0.1), 0.5),
        Difference("all", "", "PQ/lost/missed", 0.1, 0.2, (-0.15, -0.05), 1.0),
        Difference("class", "<car>", "PQ", None, 0.5, None, None),
    ]
    text = difference_tables(rows, num_resamples=10)
    cells = {
        re.match(r"<td>([^<]*)", row)[1]: re.findall(r"<td>(.*?)</td>", row)[3]
        for row in re.findall(r"<tr>(.*?)</tr>", text)
        if row.startswith("<td>")
    }
    assert "▲" in cells["PQ"]
    assert "▼" in cells["mIoU"]
    assert cells["AP"].strip() == "0.0"
    assert "▲" in cells["PQ/lost/missed"]  # less is better
    assert cells["&lt;car&gt;"].strip() == "-"
