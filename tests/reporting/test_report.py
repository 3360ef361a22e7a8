"""The report: one file that needs nothing else, and that no name can break out of."""

import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from drawn_folders import BALL, BOX, GROUND, SKY, moved, scene, write_split
from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.folder import ImageRecord
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import write_rgb
from maskmill.metrics.evaluation import evaluate_folders
from maskmill.reporting.pictures import GRAY, WRONG, confusion_picture, find_image, views, wrong_pixels
from maskmill.reporting.report import write_report
from strategies import CATEGORIES

TRUTHS = [scene(0)] * 5
PREDS = [moved(truth, by=place) for place, truth in enumerate(TRUTHS)]  # 001.png is perfect, 005.png is worst


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
    data = np.frombuffer(base64.b64decode(uri.removeprefix("data:image/png;base64,")), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def report(tmp_path, truths=TRUTHS, preds=PREDS, *, categories=CATEGORIES, num_examples=2, images=None, names=None, has_images=True):
    target = write_split(tmp_path / "target", truths, categories=categories, images=has_images, names=names)
    prediction = write_split(tmp_path / "prediction", preds, categories=categories, names=names)
    evaluation = evaluate_folders(target, prediction)
    path = write_report(tmp_path / "report.html", evaluation, target, prediction, images=images, num_examples=num_examples)
    return path.read_text()


def test_it_shows_the_numbers_in_percent_and_the_worst_and_best_images(tmp_path):
    page = Page(report(tmp_path))
    assert re.search(r"PQ\s+\d\d\.\d", page.text)
    order = [page.text.index(part) for part in ("Worst images", "005.png", "004.png", "Best images", "001.png", "002.png")]
    assert order == sorted(order)
    assert "PQ 100.0" in page.text[page.text.index("001.png") :]
    assert "003.png" not in page.text
    assert len(page.pictures) == 1 + 4 * 4  # the confusion matrix, and four views of four images


def test_it_fetches_and_runs_nothing(tmp_path):
    text = report(tmp_path)
    page = Page(text)
    assert all(uri.startswith("data:image/png;base64,") for uri in page.pictures)
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    assert "http" not in text
    assert "url(" not in text


def test_a_name_cannot_become_markup(tmp_path):
    evil = "<script>alert(1)</script>&\"'"
    categories = Categories([Category(GROUND, evil, False, (0, 90, 0)), *list(CATEGORIES)[1:]])
    text = report(tmp_path, TRUTHS[:1], PREDS[:1], categories=categories, names=["<img src=x onerror=alert(1)>.png"])
    assert "<script>" not in text
    assert "onerror" not in {name for _, attrs in Page(text).tags for name in attrs}
    assert evil in Page(text).text


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
    assert sum(tag == "tr" for tag, _ in page.tags) == 2
    assert "ground, ball, box" in page.text


def test_a_single_image_is_shown_once(tmp_path):
    text = report(tmp_path, TRUTHS[:1], PREDS[:1])
    assert text.count("<figure>") == 1
    assert "Best images" not in text


def test_no_examples_are_shown_where_none_are_asked_for(tmp_path):
    assert len(Page(report(tmp_path, num_examples=0)).pictures) == 1


def test_labels_whose_images_are_not_at_hand_are_drawn_on_gray(tmp_path):
    page = Page(report(tmp_path, has_images=False))
    assert (decoded(page.pictures[1]) == GRAY).all()


def test_images_may_lie_elsewhere(tmp_path):
    for number in range(1, 6):
        write_rgb(tmp_path / "photos" / f"{number:03}.png", np.full((24, 32, 3), 77, np.uint8))
    page = Page(report(tmp_path, has_images=False, images=tmp_path / "photos"))
    assert (decoded(page.pictures[1]) == 77).all()


def test_an_image_of_another_size_is_refused(tmp_path):
    write_rgb(tmp_path / "a.png", np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(ValueError, match=r"a\.png: expected 24 x 32 pixels like its labels, but got 5 x 5"):
        find_image(tmp_path, ImageRecord(1, "a.png", 24, 32))


def test_an_image_name_that_leaves_the_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="leaves the data folder"):
        find_image(tmp_path, ImageRecord(1, "../a.png", 24, 32))


def test_wrong_pixels_are_bright_right_ones_dark_and_unlabelled_ones_gray():
    image = np.full((1, 3, 3), 200, np.uint8)
    truth, pred = np.array([[BALL, BALL, -1]], np.int32), np.array([[BALL, BOX, BOX]], np.int32)
    assert wrong_pixels(image, truth, pred, background=False).tolist() == [[[60] * 3, list(WRONG), [GRAY] * 3]]
    assert wrong_pixels(image, truth, pred, background=True).tolist() == [[[60] * 3, list(WRONG), list(WRONG)]]


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (700, 3), (2000, 1000)])
def test_images_of_any_shape_have_views_of_a_page_s_size(size):
    labels = Panoptic.from_ids(np.full(size, 2**24 - 1, np.int32), {2**24 - 1: BALL})
    shown = views(np.zeros((*size, 3), np.uint8), labels, labels, CATEGORIES, background=False)
    assert list(shown) == ["image", "truth", "prediction", "wrong class"]
    assert all(max(decoded(uri).shape) == 480 for uri in shown.values())


def test_a_confusion_matrix_of_many_oddly_named_classes_is_drawn():
    categories = Categories([Category(number, f"$\\frac{number}$ _^{{", False, (0, 0, 0)) for number in range(40)])
    matrix = np.random.default_rng(0).integers(0, 9, (41, 41))
    assert decoded(confusion_picture(matrix, categories, last="void")).shape[0] > 500


def test_a_data_set_without_a_labelled_pixel_has_a_report(tmp_path):
    nothing = Panoptic.from_ids(np.zeros((8, 8), np.int32), {})
    assert "Segmentation report" in report(tmp_path, [nothing], [nothing])
