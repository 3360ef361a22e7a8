"""The report in a real browser, where there is one."""

import re
import shutil
import subprocess

import numpy as np
import pytest

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

pytestmark = pytest.mark.slow

LONG = "a_name_without_a_space_that_no_phone_is_wide_enough_for_and_no_browser_breaks_by_itself"
MANY = Categories(
    Category(key, f"{LONG}_{key}" if key % 5 == 0 else f"class {key}", key % 2 == 0, color_of(key))
    for key in range(1, 41)
)
# A frame is as wide as it is told to be; a window of a desktop browser is not less than 500 px.
SENT = "<script>parent.postMessage(innerWidth + ' ' + document.documentElement.scrollWidth, '*')</script>"
AROUND = """<body><script>onmessage = event => document.body.setAttribute('data-width', event.data)</script>
<iframe src="page.html" style="width: {width}px; height: 900px; border: 0"></iframe></body>"""


def many(seed):
    """Forty classes in bands."""
    ids = np.repeat(np.arange(1, 41, dtype=np.int32), 2)[:, None].repeat(60, 1)
    ids = np.roll(ids, seed, axis=0)
    return Panoptic.from_ids(
        ids, {key: key for key in range(1, 41)}, scores={key: 0.5 for key in range(2, 41, 2)}
    )


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The report of a comparison of many classes with long names, one of an ordinary data set, and the page of the registry."""
    root = tmp_path_factory.mktemp("pages")
    for name, truths, preds, categories in (
        ("many", [many(0)] * 3, [many(1), many(3), many(0)], MANY),
        ("few", [scene(0)] * 3, [moved(scene(0), by=by) for by in (0, 2, 5)], None),
    ):
        options = {} if categories is None else {"categories": categories}
        names = [f"{LONG}_{number}.png" for number in range(3)]
        target = write_split(root / name / "target", truths, images=True, names=names, **options)
        prediction = write_split(root / name / "prediction", preds, names=names, **options)
        baseline = write_split(root / name / "baseline", preds[::-1], names=names, **options)
        write_instances(prediction, preds, *options.values())
        evaluation, other = evaluate_folders(target, prediction), evaluate_folders(target, baseline)
        tags = [Slicing(LONG, (LONG, "b", LONG), (LONG, "b"))]
        analysis = analyse(
            evaluation, Resampling(20), images=target / "images", tags=tags, baseline=other
        )
        gallery = Gallery.of(
            analysis,
            PanopticFolder(target),
            prediction,
            images=target / "images",
            num_examples=2,
            baseline=baseline,
        )
        write_report(root / f"{name}.html", gallery)
        version = {
            "name": LONG,
            "version": 2,
            "alias": "challenger",
            "reason": f"because of {LONG}",
        }
        write_comparison(root / "registry.html", version, analysis.differences, num_resamples=20)
    return root


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["many", "few", "registry"])
@pytest.mark.parametrize("unfolded", [False, True])
def test_no_page_is_wider_than_the_window(pages, tmp_path, name, width, unfolded):
    browser = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if browser is None:
        pytest.skip("needs chromium to lay the report out")
    text = (pages / f"{name}.html").read_text()
    text = text.replace("<details>", "<details open>") if unfolded else text
    (tmp_path / "page.html").write_text(text.replace("</body>", f"{SENT}</body>"))
    around = tmp_path / "around.html"
    around.write_text(AROUND.format(width=width))
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
    ]
    command += ["--virtual-time-budget=5000", "--window-size=1600,1000", around.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    inner, content = map(int, re.search(r'data-width="(\d+) (\d+)"', done.stdout).groups())
    assert inner == width
    assert content <= inner
