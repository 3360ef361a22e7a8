"""The report: one file that needs nothing else, and that no name can break out of."""

import base64
import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from drawn_folders import BALL, BOX, SKY, moved, scene, write_instances, write_split
from maskmill.canonical.categories import Categories
from maskmill.canonical.folder import ImageRecord, PanopticFolder
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import write_rgb
from maskmill.evaluation.analysis import analyse
from maskmill.evaluation.bootstrap import Resampling
from maskmill.evaluation.evaluation import evaluate_folders
from maskmill.evaluation.slices import Slicing
from maskmill.reporting.confusion_chart import confusion_chart
from maskmill.reporting.examples import Gallery
from maskmill.reporting.pictures import GRAY, WRONG, find_image, views, wrong_pixels
from maskmill.reporting.report import write_report
from strategies import CATEGORIES

TRUTHS = [scene(0)] * 5
PREDS = [
    moved(truth, by=place) for place, truth in enumerate(TRUTHS)
]  # 001.png is perfect, 005.png is worst


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(self.words)

    @property
    def pictures(self):
        return [attrs["src"] for tag, attrs in self.tags if tag == "img"]


def decoded(uri):
    data = np.frombuffer(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,")), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def report(
    tmp_path,
    truths=TRUTHS,
    preds=PREDS,
    *,
    categories=CATEGORIES,
    num_examples=2,
    images=None,
    names=None,
    has_images=True,
    baseline=None,
    tags=(),
    num_resamples=20,
):
    target = write_split(
        tmp_path / "target", truths, categories=categories, images=has_images, names=names
    )
    prediction = write_split(tmp_path / "prediction", preds, categories=categories, names=names)
    write_instances(prediction, preds, categories)
    other = (
        None
        if baseline is None
        else write_split(tmp_path / "baseline", baseline, categories=categories, names=names)
    )
    truth = PanopticFolder(target)
    images = images or truth.image_folder
    evaluation, before = (
        evaluate_folders(target, prediction),
        None if other is None else evaluate_folders(target, other),
    )
    analysis = analyse(
        evaluation, Resampling(num_resamples), images=images, tags=tags, baseline=before
    )
    gallery = Gallery.of(
        analysis, truth, prediction, images=images, num_examples=num_examples, baseline=other
    )
    return write_report(tmp_path / "report.html", gallery).read_text()


def test_it_shows_the_numbers_in_percent_and_the_worst_and_best_images(tmp_path):
    page = Page(report(tmp_path))
    assert re.search(r"PQ\s+\d\d\.\d\s+\d\d\.\d–\d\d\.\d", page.text)
    parts = (
        "Scores",
        "Where PQ is lost",
        "What is taken for what",
        "Worst images",
        "005.png",
        "004.png",
        "Best images",
        "001.png",
        "002.png",
    )
    examples = page.text[page.text.index("Worst images") :]
    assert [page.text.rindex(part) for part in parts] == sorted(
        page.text.rindex(part) for part in parts
    )
    assert "PQ 100.0" in examples[examples.index("001.png") :]
    assert "003.png" not in examples


def test_it_fetches_and_runs_nothing(tmp_path):
    text = report(tmp_path, baseline=[moved(truth, by=3) for truth in TRUTHS])
    page = Page(text)
    assert all(uri.startswith("data:image/jpeg;base64,") for uri in page.pictures)
    assert not {"script", "link", "iframe", "object", "form", "use", "image", "foreignobject"} & {
        tag for tag, _ in page.tags
    }
    assert "http" not in text
    assert "url(" not in text
    assert not [
        name
        for _, attrs in page.tags
        for name in attrs
        if name.startswith("on") or name in {"xlink:href", "srcset"}
    ]
    assert all(attrs["href"].startswith("#") for tag, attrs in page.tags if tag == "a")


def test_a_name_cannot_become_markup(tmp_path):
    evil = "<script>alert(1)</script>&\"'"
    stuff, *others = CATEGORIES
    categories = Categories(
        [replace(stuff, name=evil), *(replace(one, name=f"{evil}{one.id}") for one in others)]
    )
    names = ["<img src=x onerror=alert(1)>.png"]
    tags = [Slicing(evil, (evil,), (evil,))]
    baseline = [moved(TRUTHS[0], by=9)]
    text = report(
        tmp_path,
        TRUTHS[:1],
        PREDS[3:4],
        categories=categories,
        names=names,
        tags=tags,
        baseline=baseline,
    )
    page = Page(text)
    assert "<script>" not in text
    assert not {"script"} & {tag for tag, _ in page.tags}
    assert not {name for _, attrs in page.tags for name in attrs if name.startswith("on")}
    for place in (
        "Slices",
        "Against the baseline",
        "What is taken for what",
        "Curves",
        "Mistakes to look at",
        "Where PQ is lost",
    ):
        section = text[text.index(f">{place}</h2>") :]
        section = section[: section.find("<h2")]
        assert escape(evil)[:20] in section, (
            place
        )  # a long name is cut in the matrix, but never unescaped


def test_it_says_what_was_compared_without_the_layout_of_the_machine(tmp_path, monkeypatch):
    assert str(tmp_path) not in report(tmp_path)
    monkeypatch.chdir(tmp_path)
    text = Page(report(tmp_path)).text
    assert "target/panoptic.json sha256" in " ".join(text.split())


def test_the_same_evaluation_gives_the_same_bytes(tmp_path):
    assert report(tmp_path) == report(tmp_path)


def test_classes_that_do_not_occur_are_listed_without_rows(tmp_path):
    truth = Panoptic.from_ids(np.ones((8, 8), np.int32), {1: SKY})
    text = report(tmp_path, [truth], [truth])
    page = Page(text)
    assert "ground, ball, box" in page.text
    assert "2 sky stuff" in " ".join(page.text.replace("\xa0", " ").split())


def test_a_single_image_is_shown_once(tmp_path):
    text = report(tmp_path, TRUTHS[:1], PREDS[:1])
    assert text[text.index("Worst images") :].count("<figure>") == 1
    assert "Best images" not in text


def test_no_examples_are_shown_where_none_are_asked_for(tmp_path):
    assert Page(report(tmp_path, num_examples=0)).pictures == []


def test_labels_whose_images_are_not_at_hand_are_drawn_on_gray(tmp_path):
    page = Page(report(tmp_path, has_images=False))
    assert (decoded(page.pictures[-4]) == GRAY).all()


def test_images_may_lie_elsewhere(tmp_path):
    for number in range(1, 6):
        write_rgb(tmp_path / "photos" / f"{number:03}.png", np.full((24, 32, 3), 77, np.uint8))
    page = Page(report(tmp_path, has_images=False, images=tmp_path / "photos"))
    assert (decoded(page.pictures[-4]) == 77).all()


def test_an_image_of_another_size_is_refused(tmp_path):
    write_rgb(tmp_path / "a.png", np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(
        ValueError, match=r"a\.png: expected 24 x 32 pixels like its labels, but got 5 x 5"
    ):
        find_image(tmp_path, ImageRecord(1, "a.png", 24, 32))


def test_an_image_name_that_leaves_the_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="leaves the data folder"):
        find_image(tmp_path, ImageRecord(1, "../a.png", 24, 32))


def test_wrong_pixels_are_bright_right_ones_dark_and_unlabelled_ones_gray():
    image = np.full((1, 3, 3), 200, np.uint8)
    truth, pred = np.array([[BALL, BALL, -1]], np.int32), np.array([[BALL, BOX, BOX]], np.int32)
    assert wrong_pixels(image, truth, pred, background=False).tolist() == [
        [[60] * 3, list(WRONG), [GRAY] * 3]
    ]
    assert wrong_pixels(image, truth, pred, background=True).tolist() == [
        [[60] * 3, list(WRONG), list(WRONG)]
    ]


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (700, 3), (2000, 1000)])
def test_images_of_any_shape_have_views_of_a_page_s_size(size):
    labels = Panoptic.from_ids(np.full(size, 2**24 - 1, np.int32), {2**24 - 1: BALL})
    shown = views(np.zeros((*size, 3), np.uint8), labels, labels, CATEGORIES, background=False)
    assert list(shown) == ["image", "truth", "prediction", "wrong class"]
    assert all(max(decoded(uri).shape) == 480 for uri in shown.values())


def test_a_confusion_matrix_of_many_oddly_named_classes_is_drawn():
    matrix = np.random.default_rng(0).integers(1, 9, (41, 41))
    page = Page(
        confusion_chart(matrix, [*(f"$\\frac{{{number}}}$ <b>" for number in range(40)), "void"])
    )
    assert sum(tag == "rect" for tag, _ in page.tags) == 1 + 41 * 41
    assert "b" not in {tag for tag, _ in page.tags}


def test_a_row_of_the_confusion_matrix_is_the_share_of_a_true_class():
    matrix = np.array(
        [[3, 1, 0], [0, 0, 0], [0, 0, 0]]
    )  # 4 pixels of the first class: 3 right, 1 taken for the second
    text = Page(confusion_chart(matrix, ["cat", "dog", "void"])).text
    assert "cat taken for cat: 75.0 %" in text
    assert "cat taken for dog: 25.0 %" in text
    assert text.count(" taken for ") == 2


def test_a_data_set_without_a_labelled_pixel_has_a_report(tmp_path):
    nothing = Panoptic.from_ids(np.zeros((8, 8), np.int32), {})
    assert "Segmentation report" in report(tmp_path, [nothing], [nothing])
