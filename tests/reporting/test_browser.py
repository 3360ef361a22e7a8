"""The pages in a real browser, where there is one."""

import re

import numpy as np
import pytest

from browser import browser_page
from drawn_folders import moved, scene, write_instances, write_split
from maskmill.canonical.categories import Categories, Category, color_of
from maskmill.canonical.folder import PanopticFolder
from maskmill.canonical.panoptic import Panoptic
from maskmill.evaluation.analysis import analyse
from maskmill.evaluation.bootstrap import Resampling
from maskmill.evaluation.evaluation import evaluate_folders
from maskmill.evaluation.monitoring import compare_with_reference
from maskmill.evaluation.reference import Reference, ShiftedScores
from maskmill.evaluation.slices import Slicing
from maskmill.reporting.comparison_page import write_comparison
from maskmill.reporting.examples import Gallery
from maskmill.reporting.monitor_page import write_monitor_page
from maskmill.reporting.report import write_report
from observations import STREET, draw_observations, labelled
from strategies import CATEGORIES

pytestmark = pytest.mark.slow

LONG = "a_name_without_a_space_that_no_phone_is_wide_enough_for_and_no_browser_breaks_by_itself"
ALL_OPEN = "document.querySelectorAll('details').forEach(part => part.open = {})"


def many_categories():
    categories = []
    for category_id in range(1, 41):
        name = f"{LONG}_{category_id}" if category_id % 5 == 0 else f"class {category_id}"
        isthing = category_id % 2 == 0
        categories.append(Category(category_id, name, isthing, color_of(category_id)))
    return Categories(categories)


def bands(shift):
    """Forty classes in bands, rolled by some rows."""
    ids = np.repeat(np.arange(1, 41, dtype=np.int32), 2)[:, None].repeat(60, axis=1)
    category_of = {category_id: category_id for category_id in range(1, 41)}
    scores = dict.fromkeys(range(2, 41, 2), 0.5)
    return Panoptic.from_ids(np.roll(ids, shift, axis=0), category_of, scores=scores)


def gallery_of(root, targets, preds, categories):
    """A gallery with a baseline, long file names and a long tag."""
    options = {"names": [f"{LONG}_{number}.png" for number in range(3)], "categories": categories}
    target = write_split(root / "target", targets, images=True, **options)
    prediction = write_split(root / "prediction", preds, **options)
    baseline = write_split(root / "baseline", preds[::-1], **options)
    write_instances(prediction, preds, categories)
    images = target / "images"
    analysis = analyse(
        evaluate_folders(target, prediction),
        Resampling(20),
        images=images,
        tags=[Slicing(LONG, (LONG, "b", LONG), (LONG, "b"))],
        baseline=evaluate_folders(target, baseline),
    )
    options = {"images": images, "num_examples": 2, "baseline": baseline}
    return Gallery.from_folders(analysis, PanopticFolder(target), prediction, **options)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Reports of many classes with long names and of few, and the page of the registry."""
    root = tmp_path_factory.mktemp("pages")
    preds = [bands(1), bands(3), bands(0)]
    many = gallery_of(root / "many", [bands(0)] * 3, preds, many_categories())
    write_report(root / "many.html", many)
    preds = [moved(scene(0), by=by) for by in (0, 2, 5)]
    few = gallery_of(root / "few", [scene(0)] * 3, preds, CATEGORIES)
    write_report(root / "few.html", few)
    version = {"name": LONG, "version": 2, "alias": "challenger", "reason": f"because of {LONG}"}
    differences = few.analysis.differences
    write_comparison(root / "registry.html", version, differences, num_resamples=20)
    return root


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page of a browser that all tests share, since it takes seconds to start."""
    with browser_page(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["many", "few", "registry"])
def test_no_page_is_wider_than_the_window(pages, page, name, width):
    page.open((pages / f"{name}.html").as_uri(), width=width, height=900)
    for is_open in ("false", "true"):
        page.run(ALL_OPEN.format(is_open))
        assert page.run("innerWidth") == width
        assert page.run("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", ["many", "few", "registry"])
def test_the_keyboard_reaches_whatever_scrolls_and_screen_readers_find_the_content(
    pages, page, name
):
    page.open((pages / f"{name}.html").as_uri(), width=390, height=900)
    page.run(ALL_OPEN.format("true"))
    scrolling = "[...document.querySelectorAll('*')].filter(e => e.scrollWidth > e.clientWidth"
    scrolling += " && getComputedStyle(e).overflowX == 'auto')"
    assert page.run(f"{scrolling}.length") > 0
    assert page.run(f"{scrolling}.filter(e => e.tabIndex < 0 || !e.ariaLabel).length") == 0
    assert page.run("document.querySelectorAll('main h1').length") == 1
    empty = "document.querySelectorAll('th:empty, img:not([alt]), svg:not([aria-label]):not(.key)')"
    assert page.run(f"[...{empty}].map(e => e.outerHTML).join()") == ""


def test_one_picture_of_an_example_is_shown_and_all_are_printed(pages, page):
    shown = (
        "[...document.querySelector('#worst-1-1').parentNode.querySelectorAll('.views > div')]"
        ".map(view => getComputedStyle(view).display != 'none').join()"
    )
    page.messages.clear()
    page.open((pages / "few.html").as_uri(), width=1000, height=800)
    assert page.run(shown) == "false,false,true,false"  # the prediction
    page.run("document.querySelector('#worst-1-1').focus()")
    page.press("ArrowRight")
    assert page.run(shown) == "false,true,false,false"  # the ground truth
    page.run("document.querySelector('label[for=worst-1-1]').click()")
    assert page.run(shown) == "true,false,false,false"  # the photograph
    page.call("Emulation.setEmulatedMedia", media="print")
    assert page.run(shown) == "true,true,true,true"
    page.call("Emulation.setEmulatedMedia", media="")
    assert page.messages == []


def test_the_monitor_page_names_drift_and_images_at_desktop_and_phone_width(page, tmp_path):
    shifted = [ShiftedScores(str(x), x, {"mIoU": x}) for x in (0.5, 0.6, 0.7, 0.8)]
    val = [labelled(seen, {11: 0.6, 19: 0.97}, 0.7) for seen in draw_observations(0, 40)]
    reference = Reference(draw_observations(1, 100), val, shifted, ["mIoU"])
    dark = draw_observations(2, 60, brightness=0.6, name=f"{LONG}.png")
    found = compare_with_reference(reference, dark, STREET, num_listed=5)
    path = write_monitor_page(tmp_path / "monitor.html", found, model="0123456789ab")
    outside = """[...document.querySelectorAll('.card > *, h1, h2, th')].filter(node =>
        node.scrollWidth > node.clientWidth + 1 && getComputedStyle(node).display != 'inline'
        || node.getBoundingClientRect().right
        > node.parentNode.getBoundingClientRect().right + 1).map(node => node.innerText).join()"""
    page.messages.clear()
    for width in (1400, 390):
        page.open(path.as_uri(), width=width, height=900)
        page.run("document.querySelector('details').open = true")
        assert page.run("document.documentElement.scrollWidth") <= width
        assert page.run(outside) == ""
        title = page.run("document.querySelector('h1').innerText")
        assert title == f"{len(found.drifted)} of {len(found.drifts)} features drifted"
        drawn = "[...document.querySelectorAll('.charts')].map(row => row.innerText).join()"
        assert "brightness" in page.run(drawn)
        assert page.run("document.querySelector('.card span').innerText") == "mIoU"
        rows = page.run("document.querySelectorAll('table.text tbody tr').length")
        assert rows == len(found.candidates) == 5
        assert page.messages == []


@pytest.mark.parametrize(
    ("policy", "title"),
    [("default-src 'none'", "as written"), ("script-src 'unsafe-inline'", "run")],
)
def test_a_script_runs_only_if_the_policy_of_the_page_allows_it(
    pages, page, tmp_path, policy, title
):
    text = (pages / "registry.html").read_text()
    assert "default-src 'none'" in text
    text = text.replace("default-src 'none'", policy)
    text = re.sub("<title>[^<]*", "<title>as written", text, count=1)
    path = tmp_path / "page.html"
    path.write_text(text.replace("</body>", "<script>document.title = 'run'</script></body>"))
    page.open(path.as_uri(), width=390, height=900)
    assert page.run("document.title") == title
