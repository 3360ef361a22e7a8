"""The report: one file that needs nothing else, and that no name can break out of."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from markupsafe import escape

from drawn_folders import BALL, BOX, SKY, moved, scene, write_instances, write_split
from maskmill.canonical.categories import Categories
from maskmill.canonical.files import write_json
from maskmill.canonical.folder import ImageRecord, PanopticFolder
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import write_rgb
from maskmill.evaluation.analysis import analyse
from maskmill.evaluation.bootstrap import Resampling
from maskmill.evaluation.deciding import INSTANCE
from maskmill.evaluation.evaluation import evaluate_folders
from maskmill.evaluation.slices import Slicing
from maskmill.postprocess.calibration import Calibration
from maskmill.reporting.examples import Gallery
from maskmill.reporting.origin import Origin, with_run
from maskmill.reporting.pictures import GRAY, HIGHLIGHT, draw_error_map, draw_example, find_image
from maskmill.reporting.report import write_report
from maskmill.reporting.score_tables import tabulate_slices
from parsed_page import HOSTILE, HOSTILE_NAMES, Page, decoded, require_inert
from strategies import CATEGORIES

TARGETS = [scene(0)] * 5
# 001.png is perfect, 005.png is worst
PREDS = [moved(target, by=index) for index, target in enumerate(TARGETS)]


@dataclass
class Case:
    """What a report is made from."""

    folder: Path
    targets: list = None
    preds: list = None
    categories: Categories = CATEGORIES
    num_examples: int = 2
    images: Path | None = None
    names: list | None = None
    has_images: bool = True
    baseline: list | None = None
    tags: tuple = ()

    def write(self, name, labels, *, images=False):
        options = {"categories": self.categories, "names": self.names, "images": images}
        return write_split(self.folder / name, labels, **options)

    def gallery(self):
        preds = self.preds or PREDS
        target = self.write("target", self.targets or TARGETS, images=self.has_images)
        prediction = self.write("prediction", preds)
        write_instances(prediction, preds, self.categories)
        baseline = None
        baseline_evaluation = None
        if self.baseline is not None:
            baseline = self.write("baseline", self.baseline)
            baseline_evaluation = evaluate_folders(target, baseline)
        folder = PanopticFolder(target)
        images = self.images or folder.image_folder
        analysis = analyse(
            evaluate_folders(target, prediction),
            Resampling(20),
            images=images,
            tags=self.tags,
            baseline=baseline_evaluation,
        )
        options = {"images": images, "num_examples": self.num_examples, "baseline": baseline}
        return Gallery.from_folders(analysis, folder, prediction, **options)


def report(folder, **options):
    gallery = Case(folder, **options).gallery()
    return write_report(folder / "report.html", gallery).read_text()


@pytest.mark.slow
def test_the_calibration_error_of_the_evaluated_images_is_shown_before_and_after(tmp_path):
    """Before: that of the scores as the network gave them, which calibration then changed."""
    case = Case(tmp_path)
    before = case.gallery().analysis.scores["ECE"]
    calibration = Calibration(slope=2.0, offset=-0.5)
    case.preds = []
    for pred in PREDS:
        scores = {row.id: calibration.segment_score(row.score) for row in pred.segments}
        case.preds.append(Panoptic.from_ids(pred.ids, pred.category_of, scores=scores))
    gallery = case.gallery()
    after = gallery.analysis.scores["ECE"]
    errors = {"count": 9, "ece_before": 0.25, "ece_after": 0.125}
    origin = {"calibration": {"num_images": 3, "pixels": errors}}
    origin["score_calibration"] = {"slope": 2.0, "offset": -0.5}
    write_json(gallery.pred.json_path.parent / "prediction.json", origin)
    text = Page(write_report(tmp_path / "report.html", gallery).read_text()).text
    shown = f"{100 * before:.1f} {100 * after:.1f}"
    assert (
        f"pixels of 3 validation images 9 25.0 12.5 segments of 5 evaluated images 25 {shown}"
        in text
    )
    assert abs(before - after) > 0.01


def section(text, title):
    """The HTML of a section."""
    after = text[text.index(f">{title}</h2>") :]
    return after[: after.find("<h2")]


@pytest.mark.slow
def test_scores_are_shown_in_percent_with_an_interval(tmp_path):
    page = Page(report(tmp_path))
    assert re.search(r"PQ \d\d\.\d \d\d\.\d–\d\d\.\d", page.text)


@pytest.mark.slow
def test_sections_and_images_have_their_order(tmp_path):
    text = Page(report(tmp_path)).text
    parts = ["Scores", "Where PQ is lost", "Confusion matrix", "Worst images", "005.png", "004.png"]
    parts += ["Best images", "001.png", "002.png"]
    positions = [text.rindex(part) for part in parts]
    assert positions == sorted(positions)


@pytest.mark.slow
def test_the_worst_and_the_best_images_are_shown_with_their_score(tmp_path):
    text = Page(report(tmp_path)).text
    examples = text[text.index("Worst images") :]
    assert "001.png PQ 100.0" in examples
    assert "003.png" not in examples


@pytest.mark.slow
def test_it_runs_and_loads_nothing(tmp_path):
    text = report(tmp_path, baseline=[moved(target, by=3) for target in TARGETS])
    require_inert(text)
    pictures = Page(text).pictures
    assert pictures
    assert all(uri.startswith("data:image/jpeg;base64,") for uri in pictures)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A report whose class names, file name and tag are markup."""
    folder = tmp_path_factory.mktemp("hostile")
    stuff, *others = CATEGORIES
    renamed = [replace(stuff, name=HOSTILE)]
    renamed += [replace(other, name=f"{HOSTILE}{other.id}") for other in others]
    write_json(folder / "dataset.json", {"problems": [{"split": HOSTILE, "message": HOSTILE}]})
    return report(
        folder,
        targets=TARGETS[:2],
        preds=PREDS[3:5],
        categories=Categories(renamed),
        names=["<img src=x onerror=alert(1)>.png", "plain.png"],
        tags=(Slicing(HOSTILE, (HOSTILE, "other"), (HOSTILE, "other")),),
        baseline=[moved(TARGETS[0], by=9)] * 2,
    )


@pytest.mark.slow
def test_a_name_cannot_become_markup(hostile):
    assert "<script>" not in hostile
    assert "<img src=x" not in hostile
    require_inert(hostile)


def report_named(folder, name):
    """A report of one image; `name` is the name of classes, file, tag and data problem."""
    renamed = []
    for index, category in enumerate(CATEGORIES):
        renamed.append(replace(category, name=f"{name}{index}"))
    write_json(folder / "dataset.json", {"problems": [{"split": name, "message": name}]})
    return report(
        folder,
        targets=TARGETS[:2],
        preds=PREDS[3:5],
        categories=Categories(renamed),
        names=[f"{name.replace('/', '')[:60]}.png", "other.png"],
        tags=(Slicing(name, (name, "other"), (name, "other")),),
        baseline=[moved(TARGETS[0], by=9)] * 2,
    )


@pytest.mark.slow
def test_names_add_neither_an_element_nor_an_attribute_to_the_report(tmp_path):
    pages = []
    for folder, name in (("hostile", "".join(HOSTILE_NAMES)), ("plain", "plain")):
        (tmp_path / folder).mkdir()
        pages.append(Page(report_named(tmp_path / folder, name)))
    assert pages[0].structure == pages[1].structure


@pytest.mark.parametrize(
    "title",
    [
        "Parts of the data",
        "Differences from the baseline",
        "Confusion matrix",
        "Precision and confidence",
        "Errors to review",
        "Where PQ is lost",
        "Classes",
        "Data",
    ],
)
def test_each_section_escapes_names(hostile, title):
    shown = section(hostile + "<h2", title)
    assert str(escape(HOSTILE))[:20] in shown  # the confusion matrix shortens long names


@pytest.mark.slow
def test_it_says_what_was_compared_without_the_layout_of_the_machine(tmp_path, monkeypatch):
    assert str(tmp_path) not in report(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert "target/panoptic.json sha256" in Page(report(tmp_path)).text


@pytest.mark.slow
def test_the_same_evaluation_gives_the_same_bytes(tmp_path):
    assert report(tmp_path) == report(tmp_path)


def test_classes_that_do_not_occur_are_listed_without_rows(tmp_path):
    target = Panoptic.from_ids(np.ones((8, 8), np.int32), {1: SKY})
    page = Page(report(tmp_path, targets=[target], preds=[target]))
    assert "ground, ball, box" in page.text
    assert "2 sky stuff" in page.text


def test_a_single_image_is_shown_once(tmp_path):
    text = report(tmp_path, targets=TARGETS[:1], preds=PREDS[:1])
    assert text[text.index("Worst images") :].count("<figure") == 1
    assert "Best images" not in text


def test_without_examples_there_are_no_pictures(tmp_path):
    assert Page(report(tmp_path, num_examples=0)).pictures == []


@pytest.mark.slow
def test_labels_without_their_images_are_drawn_on_gray(tmp_path):
    page = Page(report(tmp_path, has_images=False))
    assert (decoded(page.pictures[-4]) == GRAY).all()


@pytest.mark.slow
def test_images_may_be_in_another_folder(tmp_path):
    for number in range(1, 6):
        image = np.full((24, 32, 3), 77, np.uint8)
        write_rgb(tmp_path / "photos" / f"{number:03}.png", image)
    page = Page(report(tmp_path, has_images=False, images=tmp_path / "photos"))
    assert (decoded(page.pictures[-4]) == 77).all()


def test_an_image_of_another_size_is_refused(tmp_path):
    write_rgb(tmp_path / "a.png", np.zeros((5, 5, 3), np.uint8))
    message = r"a\.png: expected 24 x 32 pixels like its labels, but got 5 x 5"
    with pytest.raises(ValueError, match=message):
        find_image(tmp_path, ImageRecord(1, "a.png", 24, 32))


def test_an_image_name_that_leaves_the_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="leaves the data folder"):
        find_image(tmp_path, ImageRecord(1, "../a.png", 24, 32))


@pytest.mark.parametrize(
    ("background", "unlabelled"), [(False, [GRAY] * 3), (True, list(HIGHLIGHT))]
)
def test_an_error_map_has_wrong_pixels_bright_and_right_ones_dark(background, unlabelled):
    image = np.full((1, 3, 3), 200, np.uint8)
    target = np.array([[BALL, BALL, -1]], np.int32)
    pred = np.array([[BALL, BOX, BOX]], np.int32)
    drawn = draw_error_map(image, target, pred, background=background)
    assert drawn.tolist() == [[[80] * 3, list(HIGHLIGHT), unlabelled]]


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (700, 3), (2000, 1000)])
def test_pictures_of_images_of_any_shape_fit_the_page(size):
    segment_id = 2**24 - 1
    labels = Panoptic.from_ids(np.full(size, segment_id, np.int32), {segment_id: BALL})
    image = np.zeros((*size, 3), np.uint8)
    pictures = draw_example(image, labels, labels, CATEGORIES, background=False)
    assert list(pictures) == ["photograph", "ground truth", "prediction", "errors"]
    assert all(max(decoded(uri).shape) == 640 for uri in pictures.values())


def test_a_data_set_without_a_labelled_pixel_has_a_report(tmp_path):
    void = Panoptic.from_ids(np.zeros((8, 8), np.int32), {})
    assert "Panoptic segmentation report" in report(tmp_path, targets=[void], preds=[void])


CONFIG = {
    "task": {"_target_": "maskmill.tasks.segmentation.SemanticTask"},
    "network": {
        "_target_": "maskmill.networks.decoders.Unet",
        "encoder": {"name": "resnet18", "pretrained": True},
    },
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.001},
    "trainer": {"max_epochs": 2},
    "data": {"batch_size": 4, "crop_size": [64, 96]},
    "seed": 7,
}
HISTORY = [
    {"epoch": 1.0, "train/loss": 2.0, "val/loss": 2.0, "score": 0.2},
    {"epoch": 2.0, "train/loss": 1.0, "val/loss": 1.5, "score": 0.3},
]
ORIGIN = Origin("f" * 64, "a" * 64, CONFIG, HISTORY)


@pytest.fixture(scope="module")
def semantic(tmp_path_factory):
    """The report of a semantic model on data with things."""
    folder = tmp_path_factory.mktemp("semantic")
    return write_report(folder / "report.html", replace(Case(folder).gallery(), origin=ORIGIN))


@pytest.mark.slow
def test_a_report_leads_with_the_deciding_score_of_the_task(tmp_path, semantic):
    for text, metric in ((report(tmp_path), "PQ"), (semantic.read_text(), "mIoU")):
        page = Page(text).text
        assert re.match(rf"{metric} \d\d\.\d % - \w+ segmentation report", page)
        first = re.search(r'class="card( main)?"><span>(.*?)</span>', text)
        assert first.groups() == (" main", metric)


def test_a_semantic_report_shows_no_number_of_segments(semantic):
    body = semantic.read_text().split("</style>")[1]  # the style has a class PQ
    before_all, after_all = body.split("All scores")
    shown = before_all + after_all[after_all.index("</details>") :]
    assert not re.search(r"\bPQ\b|\bAP\b|object size|missed</th>", Page(shown).text)
    assert ">PQ</td>" in after_all  # folded away, and not lost


@pytest.mark.slow
def test_differences_of_a_semantic_model_begin_with_the_deciding_score(tmp_path):
    before = [moved(target, by=6) for target in TARGETS]
    gallery = replace(Case(tmp_path, baseline=before).gallery(), origin=ORIGIN)
    text = write_report(tmp_path / "report.html", gallery).read_text()
    shown = section(text, "Differences from the baseline")
    body = shown[shown.index("<tbody>") : shown.index("<details>")]
    names = re.findall(r"<tr><td>(.*?)</td>", body)
    assert names == ["mIoU", "boundary mIoU", "Dice", "fwIoU", "pixel accuracy"]
    assert "PQ of each class" not in shown


@pytest.mark.slow
def test_an_instance_report_counts_things_only(tmp_path):
    origin = Origin(config={"task": {"_target_": "maskmill.tasks.segmentation.InstanceTask"}})
    gallery = replace(Case(tmp_path).gallery(), origin=origin)
    text = write_report(tmp_path / "report.html", gallery).read_text()
    scores = gallery.analysis.scores
    cards = re.findall(r'class="card.*?><span>(.*?)</span>', text)
    assert cards[:3] == ["PQ/thing", "SQ/thing", "RQ/thing"]
    assert not set(cards) & {"PQ", "PQ/stuff", "mIoU"}
    rows = Page(section(text + "<h2", "Classes")).text
    assert "3 ball" in rows
    assert "sky" not in rows
    halves = Slicing("half", ("a", "a", "a", "b", "b"), ("a", "b"))
    table = tabulate_slices(replace(gallery.analysis, slicings=[halves]).slices, INSTANCE)
    low, high = (row.scores[0].value for row in table.groups["half"][::-1])
    assert table.metrics == ["PQ", "SQ", "RQ", "AP"]  # not mIoU
    assert low < scores["PQ/thing"] < high < 1


def test_numbers_can_be_read_on_a_white_image():
    labels = Panoptic.from_ids(np.ones((100, 100), np.int32), {1: BALL})
    image = np.full((100, 100, 3), 255, np.uint8)
    pictures = draw_example(image, labels, labels, CATEGORIES, background=False)
    middle = decoded(pictures["prediction"])[270:330, 270:330].astype(int)
    assert middle.max() > 240  # the number
    assert middle.min() < 40  # its outline


def test_no_headline_is_shown_twice_under_two_names(tmp_path):
    stuff = Panoptic.from_ids(np.ones((8, 8), np.int32), {1: SKY})
    table = Categories([category for category in CATEGORIES if not category.isthing])
    folder = tmp_path / "stuff"
    origin = Origin(config={"task": {"_target_": "maskmill.tasks.segmentation.PanopticTask"}})
    gallery = Case(folder, targets=[stuff], preds=[stuff], categories=table).gallery()
    path = write_report(tmp_path / "report.html", replace(gallery, origin=origin))
    cards = re.findall(r'class="card.*?><span>(.*?)</span>', path.read_text())
    assert cards[:3] == ["PQ", "SQ", "RQ"]


def test_it_names_the_model_and_shows_its_learning_curves(semantic):
    page = Page(semantic.read_text())
    facts = [
        "network Unet",
        "encoder resnet18, pretrained",
        "training 2 epochs, batches of 4, crops of 64 x 96 px, learning rate 0.001, seed 7, AdamW",
        "model ffffffffffff, weights aaaaaaaaaaaa",
        "Best, and kept: mIoU 30.0 % after epoch 2.",
    ]
    for fact in facts:
        assert fact in page.text
    assert "losses over epochs" in page.attributes("aria-label")


def test_the_copy_of_a_report_for_mlflow_names_the_run(semantic):
    text = with_run(semantic.read_text(), {"run": HOSTILE, "commit": "c0ffee"})
    assert "commit c0ffee" in Page(text).text
    assert "copy of this report in MLflow" not in text
    require_inert(text)
    assert with_run("no report of ours", {"run": "a"}) == "no report of ours"


@pytest.mark.slow
def test_the_pictures_of_an_example_are_switched_by_radio_buttons(tmp_path):
    page = Page(report(tmp_path))
    buttons = [attrs for tag, attrs in page.tags if tag == "input"]
    assert len(buttons) == 16  # two worst and two best images, four pictures each
    assert {attrs["name"] for attrs in buttons} == {"worst-1", "worst-2", "best-1", "best-2"}
    assert sum("checked" in attrs for attrs in buttons) == 4
    assert set(page.attributes("for")) == {attrs["id"] for attrs in buttons}
    assert "005.png, ground truth" in page.attributes("alt")


@pytest.mark.slow
def test_a_division_with_one_part_is_left_out(tmp_path):
    one = Slicing("weather", ("rain",) * 5, ("rain",))
    two = Slicing("city", ("Bonn", "Bonn", "Bonn", "Ulm", "Ulm"), ("Bonn", "Ulm", "Jena"))
    text = Page(report(tmp_path, tags=(one, two))).text
    assert "Bonn 3 15" in text  # images and segments
    assert not re.search("weather|Jena", text)


@pytest.mark.parametrize(
    ("target", "decoder", "name"),
    [
        ("maskmill.networks.panoptic_deeplab.PanopticDeepLab", None, "PanopticDeepLab"),
        ("maskmill.networks.mask2former.from_encoder", None, "mask2former"),
        ("maskmill.networks.decoders.EncoderDecoder", "segmentation_models_pytorch.FPN", "FPN"),
    ],
)
def test_the_network_has_a_name_that_a_reader_knows(target, decoder, name):
    network = {"_target_": target}
    if decoder is not None:
        network["decoder"] = {"_target_": decoder}
    losses = [{"_target_": "maskmill.losses.semantic.CrossEntropy"}, {"_target_": "a.Dice"}]
    facts = Origin(config={"network": network, "loss": {"losses": losses}}).facts()
    assert facts == {"network": name, "loss": "CrossEntropy + Dice"}
