"""The chart of a range test: where its points and its suggestion lie."""

import re

import numpy as np
import pytest

from maskmill.reporting import svg
from maskmill.reporting.learning_rate_page import draw_rate_chart, write_learning_rate_page
from parsed_page import Page, require_inert

RATES = np.array([1e-4, 1e-3, 1e-2])
SMOOTH = np.array([3.0, 1.0, 2.0])


def corners(chart, css_class):
    (path,) = re.findall(rf'<path class="{css_class}" d="M([^"]+)"', chart)
    return np.array([point.split() for point in path.split("L")], float)


@pytest.fixture
def chart():
    return draw_rate_chart(RATES, SMOOTH, SMOOTH, suggested=1e-3)


def test_rates_are_spaced_by_their_logarithm(chart):
    middle = svg.LEFT + svg.SIDE / 2
    expected = [svg.LEFT, middle, svg.LEFT + svg.SIDE]
    assert corners(chart, "first")[:, 0] == pytest.approx(expected)


def test_the_suggested_rate_is_a_line_from_bottom_to_top(chart):
    middle = svg.LEFT + svg.SIDE / 2
    expected = np.array([[middle, svg.TOP + svg.SIDE], [middle, svg.TOP]])
    assert corners(chart, "ideal") == pytest.approx(expected)


@pytest.mark.parametrize(
    ("tick", "is_drawn"), [("1e-4", True), ("1e-3", True), ("1e-2", True), ("1e-1", False)]
)
def test_each_decade_has_a_tick(chart, tick, is_drawn):
    assert (f">{tick}<" in chart) == is_drawn


def test_the_curve_fills_the_height_except_for_a_twentieth_on_either_side(chart):
    margin = svg.SIDE * 0.05 / 1.1
    expected = [svg.TOP + margin, svg.TOP + svg.SIDE - margin]
    assert corners(chart, "first")[:2, 1] == pytest.approx(expected, abs=0.1)  # written to a tenth


def test_losses_that_are_nan_or_far_off_have_no_dot():
    losses = np.array([3.0, np.nan, 500.0])
    chart = draw_rate_chart(RATES, losses, SMOOTH, suggested=1e-3)
    assert chart.count("<circle") == 1
    assert "learning rate 0.0001: loss 3" in chart


def test_the_page_is_one_file_and_names_the_rate(tmp_path):
    path = tmp_path / "lr.html"
    write_learning_rate_page(path, RATES, SMOOTH, SMOOTH, suggested=1e-3, settings="<b>U-Net</b>")
    text = path.read_text()
    assert "optimizer.lr=0.001" in text
    assert "<b>U-Net</b>" in Page(text).text
    require_inert(text)
