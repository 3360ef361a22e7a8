"""Every page: numbers as text, no name becomes markup, nothing is loaded or run."""

import numpy as np
import pytest
from jinja2 import UndefinedError

from maskmill.canonical.panoptic import Panoptic
from maskmill.evaluation.comparison import Difference
from maskmill.reporting.comparison_page import write_comparison
from maskmill.reporting.learning_rate_page import write_learning_rate_page
from maskmill.reporting.pages import format_interval, format_percent, format_points, render_page
from maskmill.reporting.preview_page import Sample, write_preview
from parsed_page import HOSTILE, HOSTILE_NAMES, Page, require_inert


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
def test_differences_have_a_sign_unless_they_are_zero(value, text):
    assert format_points(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.98765, "98.8"), (None, "-")])
def test_fractions_are_shown_in_percent(value, text):
    assert format_percent(value) == text


@pytest.mark.parametrize(("bounds", "text"), [((0.5, 0.625), "50.0\N{EN DASH}62.5"), (None, "")])
def test_intervals_are_shown_in_percent(bounds, text):
    assert format_interval(bounds) == text


def test_a_value_that_a_template_misses_is_an_error():
    with pytest.raises(UndefinedError, match="version"):
        render_page("comparison", differences=None)


def comparison(path, name=HOSTILE):
    version = {"name": name, "version": 2, "alias": name, "reason": name}
    differences = [
        Difference("all", "", "PQ", 0.6, 0.5, (0.05, 0.15), 1.0),
        Difference("class", name, "PQ", 0.6, 0.5, (0.05, 0.15), 1.0),
    ]
    return write_comparison(path, version, differences, num_resamples=10)


def dataset(name):
    row = {"name": name, "pixels": 3, "images": 1, "segments": 2, "weight": None}
    row |= {"small": 1, "medium": 1, "large": 0}
    statistics = {"height": [4, 2], "width": [2], "pixels": 12, "void_pixels": 9, "classes": [row]}
    statistics |= {"rgb_mean": [1.0, 2.0, 3.0], "rgb_std": [4.0, 5.0, 6.0]}
    finding = {"severity": name, "file": name, "what": name, "fix": name}
    return {
        "categories": [{"id": 1, "name": name, "isthing": 1, "color": [1, 2, 3]}],
        "splits": {name: {"num_images": 2}},
        "statistics": {name: statistics},
        "problems": [{"split": name, "message": name}],
        "findings": [finding, finding | {"severity": "error"}],
    }


def preview(path, name=HOSTILE):
    ids = np.array([[0, 1], [1, 1]], np.int32)
    labels = Panoptic.from_ids(ids, {1: 1})
    samples = [Sample(name, np.zeros((2, 2, 3), np.uint8), labels)]
    return write_preview(path, dataset(name), samples, split=name, augmentation=name)


def learning_rate(path, name=HOSTILE):
    rates = np.array([1e-4, 1e-3])
    losses = np.array([2.0, 1.0])
    return write_learning_rate_page(path, rates, losses, losses, suggested=1e-3, settings=name)


PAGES = [comparison, preview, learning_rate]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("write", PAGES)
def test_a_name_adds_neither_an_element_nor_an_attribute(tmp_path, write, name):
    text = write(tmp_path / "page.html", name).read_text()
    plain = write(tmp_path / "plain.html", "plain").read_text()
    assert Page(text).structure == Page(plain).structure
    assert " ".join(name.split()) in Page(text).text
    require_inert(text.replace("url(javascript", ""))


@pytest.fixture(params=PAGES)
def page(request, tmp_path):
    return request.param(tmp_path / "page.html").read_text()


def test_a_name_cannot_become_markup(page):
    assert "<script>" not in page
    assert HOSTILE in Page(page).text  # what a reader sees


def test_a_page_runs_and_loads_nothing(page):
    require_inert(page)


def test_the_preview_shows_the_statistics_and_the_problems_of_the_data(tmp_path):
    text = Page(preview(tmp_path / "preview.html").read_text()).text
    assert f"{HOSTILE}: 2 images" in text
    assert "2-4 x 2 pixels" in text
    assert "75.0% void" in text
    assert f"{HOSTILE} 25.0% 1 2 1 1 0 -" in text
    assert "1 images excluded, 1 findings about the others." in text


def test_a_first_version_has_a_reason_and_no_table(tmp_path):
    version = {"name": "model", "version": 1, "alias": "champion", "reason": "first"}
    path = write_comparison(tmp_path / "page.html", version, [], num_resamples=10)
    assert "<table" not in path.read_text()
    assert "reason first" in Page(path.read_text()).text
