"""The picture of a range test: where its points and its suggestion lie, and that it needs nothing else."""

import re

import numpy as np
import pytest

from maskmill.reporting import svg
from maskmill.reporting.rate_chart import rate_chart, rate_page


def paths(chart, kind):
    (path,) = re.findall(rf'<path class="{kind}" d="M([^"]+)"', chart)
    return [tuple(map(float, point.split())) for point in path.split("L")]


RATES, SMOOTH = np.array([1e-4, 1e-3, 1e-2]), np.array([3.0, 1.0, 2.0])


def test_rates_are_spread_by_their_logarithm_and_the_suggestion_is_a_line_from_bottom_to_top():
    chart = rate_chart(RATES, SMOOTH, SMOOTH, suggested=1e-3)
    middle = svg.LEFT + svg.SIDE / 2
    assert [x for x, _ in paths(chart, "first")] == pytest.approx(
        [svg.LEFT, middle, svg.LEFT + svg.SIDE]
    )
    assert paths(chart, "ideal") == [
        pytest.approx((middle, svg.TOP + svg.SIDE)),
        pytest.approx((middle, svg.TOP)),
    ]
    assert [tick in chart for tick in (">1e-4<", ">1e-3<", ">1e-2<", ">1e-1<")] == [
        True,
        True,
        True,
        False,
    ]


def test_the_curve_fills_the_height_but_for_a_twentieth_on_either_side():
    heights = [y for _, y in paths(rate_chart(RATES, SMOOTH, SMOOTH, suggested=1e-3), "first")]
    room = svg.SIDE * 0.05 / 1.1
    assert heights[:2] == [
        pytest.approx(svg.TOP + room, abs=0.1),
        pytest.approx(svg.TOP + svg.SIDE - room, abs=0.1),
    ]  # written to a tenth


def test_steps_that_are_no_numbers_or_far_off_have_no_dot():
    chart = rate_chart(RATES, np.array([3.0, np.nan, 500.0]), SMOOTH, suggested=1e-3)
    assert chart.count("<circle") == 1
    assert "learning rate 0.0001: loss 3" in chart


def test_the_page_is_one_file_and_escapes_what_it_is_given():
    text = rate_page(RATES, SMOOTH, SMOOTH, suggested=1e-3, settings="<b>U-Net</b>")
    assert "optimizer.lr=0.001" in text
    assert "&lt;b&gt;U-Net" in text
    assert not re.search(r'(src|href)="', text)
