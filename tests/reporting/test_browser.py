"""The pages in a real browser, where there is one."""

import re
import shutil
import subprocess

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
from maskmill.evaluation.slices import Slicing
from maskmill.reporting.comparison_page import write_comparison
from maskmill.reporting.examples import Gallery
from maskmill.reporting.report import write_report
from strategies import CATEGORIES

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LONG = "a_name_without_a_space_that_no_phone_is_wide_enough_for_and_no_browser_breaks_by_itself"
# A frame can have any width; the window of a desktop browser has at least 500 px.
SEND_WIDTHS = """<script>
parent.postMessage(innerWidth + ' ' + document.documentElement.scrollWidth, '*')
</script>"""
FRAME = """<body>
<script>onmessage = event => document.body.setAttribute('data-width', event.data)</script>
<iframe src="page.html" style="width: {width}px; height: 900px; border: 0"></iframe>
</body>"""
POLICY = "default-src 'none'"


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


def widths_in_browser(tmp_path, text, *, width):
    """What a script in the page reports in a frame of this width; None if it does not run."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("needs chromium to lay the page out")
    (tmp_path / "page.html").write_text(text.replace("</body>", f"{SEND_WIDTHS}</body>"))
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(width=width))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000"]
    command += ["--window-size=1600,1000", frame.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return re.search(r'data-width="(\d+) (\d+)"', done.stdout)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["many", "few", "registry"])
@pytest.mark.parametrize("unfolded", [False, True])
def test_no_page_is_wider_than_the_window(pages, tmp_path, name, width, unfolded):
    text = (pages / f"{name}.html").read_text()
    text = text.replace("<details>", "<details open>") if unfolded else text
    text = text.replace(POLICY, "script-src 'unsafe-inline'")
    inner, content = widths_in_browser(tmp_path, text, width=width).groups()
    assert int(inner) == width
    assert int(content) <= width


def test_one_picture_of_an_example_is_shown_and_all_are_printed(pages, tmp_path):
    shown = (
        "[...document.querySelector('#worst-1-1').parentNode.querySelectorAll('.views > div')]"
        ".map(view => getComputedStyle(view).display != 'none').join()"
    )
    with browser_page(tmp_path) as page:
        page.open((pages / "few.html").as_uri(), width=1000, height=800)
        assert page.run(shown) == "false,false,true,false"  # the prediction
        page.run("document.querySelector('#worst-1-1').focus()")
        key = {"key": "ArrowRight", "code": "ArrowRight", "windowsVirtualKeyCode": 39}
        for kind in ("keyDown", "keyUp"):
            page.call("Input.dispatchKeyEvent", type=kind, **key)
        assert page.run(shown) == "false,true,false,false"  # the ground truth
        page.run("document.querySelector('label[for=worst-1-1]').click()")
        assert page.run(shown) == "true,false,false,false"  # the photograph
        page.call("Emulation.setEmulatedMedia", media="print")
        assert page.run(shown) == "true,true,true,true"
        assert page.messages == []


def test_a_script_in_a_page_does_not_run(pages, tmp_path):
    text = (pages / "registry.html").read_text()
    assert widths_in_browser(tmp_path, text, width=390) is None
