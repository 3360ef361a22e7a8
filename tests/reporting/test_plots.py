"""The pictures for `dvc plots`: files of their own, without the network."""

import xml.etree.ElementTree as ElementTree

import pytest

from drawn_folders import moved, scene, write_split
from maskmill.canonical.categories import Categories, Category
from maskmill.evaluation.analysis import Analysis
from maskmill.evaluation.bootstrap import Resampling
from maskmill.evaluation.deciding import find_task
from maskmill.evaluation.evaluation import evaluate_folders
from maskmill.reporting.plots import WIDTH, write_plots
from maskmill.reporting.score_tables import tabulate_classes
from strategies import CATEGORIES

SVG = "{http://www.w3.org/2000/svg}"
NAMES = ["<b>", "tv/monitor & co", "Straße", "x" * 60]


@pytest.fixture(scope="module")
def analysis(tmp_path_factory):
    root = tmp_path_factory.mktemp("plots")
    named = []
    for category, name in zip(CATEGORIES, NAMES, strict=True):
        named.append(Category(category.id, name, category.isthing, category.color))
    targets = [scene(seed) for seed in range(3)]
    target = write_split(root / "target", targets, categories=Categories(named))
    labels = [moved(label) for label in targets]
    prediction = write_split(root / "prediction", labels, categories=Categories(named))
    return Analysis(evaluate_folders(target, prediction), Resampling(0))


def task_of(analysis):
    return find_task(analysis.evaluation.categories, "")


@pytest.fixture(scope="module")
def pictures(analysis, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures") / "plots"
    write_plots(folder, analysis, task_of(analysis))
    return {path.stem: ElementTree.fromstring(path.read_text()) for path in folder.iterdir()}


def bars(picture):
    """The title of each bar -> its length as a fraction."""
    lengths = {}
    for rect in picture.iter(f"{SVG}rect"):
        title = rect.findtext(f"{SVG}title")
        if title is not None:
            lengths[title.rpartition(":")[0]] = float(rect.get("width")) / WIDTH
    return lengths


def test_each_class_has_a_bar_as_long_as_each_of_its_scores(analysis, pictures):
    expected = {}
    for row in tabulate_classes(analysis, task_of(analysis)).rows:
        for score in row.scores:
            if score.name in {"PQ", "IoU"}:
                expected[f"{row.key.name}, {score.name}"] = score.value
    assert len(expected) == 8
    assert bars(pictures["classes"]) == pytest.approx(expected, abs=0.05 / WIDTH)  # px, rounded


def test_pq_and_its_losses_fill_a_bar_of_100_percent(pictures):
    lengths = bars(pictures["pq"])
    for name in ["all classes", *NAMES]:
        total = sum(length for title, length in lengths.items() if title.startswith(f"{name}, "))
        assert total == pytest.approx(1, abs=5 * 0.05 / WIDTH), name


@pytest.mark.parametrize("name", ["classes", "confusion", "pq"])
def test_a_picture_has_a_size_and_a_title_and_loads_nothing(pictures, name):
    picture = pictures[name]
    assert picture.tag == f"{SVG}svg"
    assert float(picture.get("width")) > 200
    assert float(picture.get("height")) > 100
    assert next(picture.iter(f"{SVG}text")).get("class") == "title"
    assert not list(picture.iter(f"{SVG}script"))
    assert not list(picture.iter(f"{SVG}image"))
    assert "url(" not in picture.findtext(f"{SVG}style")


def test_learning_curves_are_pictures_as_well(analysis, tmp_path):
    history = [{"epoch": 1.0, "step": 3.0, "train/loss": 2.0, "val/loss": 1.5, "score": 0.1}]
    history += [{"epoch": 2.0, "step": 6.0, "train/loss": 1.0, "val/loss": 1.2, "score": 0.3}]
    write_plots(tmp_path, analysis, task_of(analysis), history)
    titles = {}
    for number in (1, 2):
        picture = ElementTree.fromstring((tmp_path / f"training-{number}.svg").read_text())
        titles[number] = next(picture.iter(f"{SVG}text")).text
    assert titles[1].startswith("Loss of training (dashed) and of validation")
    assert "PQ 30.0 % after epoch 2" in titles[2]


def test_dvc_shows_the_pictures_without_the_web(analysis, tmp_path):
    from dvc_render import render_html
    from dvc_render.image import ImageRenderer

    write_plots(tmp_path / "plots", analysis, task_of(analysis))
    shown = []
    for path in sorted((tmp_path / "plots").iterdir()):
        assert ImageRenderer.matches(path.name, {})
        shown.append(ImageRenderer([{"rev": "HEAD", "src": f"plots/{path.name}"}], path.name))
    page = render_html(shown, tmp_path / "index.html").read_text()
    assert page.count("<img") == 3
    assert "http" not in page
