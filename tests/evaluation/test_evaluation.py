"""Two folders in, numbers out: the same for any number of processes, every image once, one message
for what does not fit.
"""

import json
import subprocess
import sys

import numpy as np
import pytest

from drawn_folders import BALL, moved, scene, write_split
from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.files import read_json, write_json
from maskmill.canonical.folder import ImageRecord, PanopticFolder, write_index
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import write_labels
from maskmill.evaluation.evaluation import evaluate_folders
from maskmill.metrics import BoundaryIoU, CalibrationError, ConfusionMatrix, MaskAP, PanopticQuality
from maskmill.metrics.functional.confusion_matrix import confusion_matrix
from maskmill.metrics.functional.mask_ap import coco_results
from strategies import CATEGORIES

TARGETS = [scene(seed) for seed in range(5)]
PREDS = [moved(ground_truth) for ground_truth in TARGETS]


def write_instances(folder, labels=PREDS):
    rows = [
        {"image_id": number * 10, **row}
        for number, pred in enumerate(labels, 1)
        for row in coco_results(pred, CATEGORIES)
    ]
    return write_json(folder / "instances.json", rows)


@pytest.fixture
def folders(tmp_path):
    prediction = write_split(tmp_path / "prediction", PREDS)
    write_instances(prediction)
    return write_split(tmp_path / "target", TARGETS), prediction


def edit(folder, change):
    """Change the index of a split."""
    index = read_json(folder / "panoptic.json")
    change(index)
    (folder / "panoptic.json").write_text(json.dumps(index))


def test_the_numbers_are_those_of_the_metrics(folders):
    scores = evaluate_folders(*folders).scores()
    expected = {}
    for metric, pairs in (
        (PanopticQuality(CATEGORIES), (PREDS, TARGETS)),
        (
            ConfusionMatrix(CATEGORIES),
            (
                [pred.category_map() for pred in PREDS],
                [ground_truth.category_map() for ground_truth in TARGETS],
            ),
        ),
        (BoundaryIoU(CATEGORIES), (PREDS, TARGETS)),
        (MaskAP(CATEGORIES), (PREDS, TARGETS)),
        (CalibrationError(CATEGORIES), (PREDS, TARGETS)),
        (MaskAP(CATEGORIES, boundary=True), (PREDS, TARGETS)),
    ):
        metric.update(*pairs)
        expected |= {name: float(value) for name, value in metric.compute().items()}
    assert {
        "PQ",
        "SQ",
        "RQ",
        "PQ/thing",
        "PQ/stuff",
        "mIoU",
        "pixel_accuracy",
        "AP",
        "AP50",
    } <= scores.keys()
    for name, value in scores.items():
        assert value == expected[name] or (value is None and np.isnan(expected[name])), (
            name
        )  # bit for bit: the same sums in the same order


@pytest.mark.slow
def test_one_two_and_three_processes_write_the_same_bytes(tmp_path):
    targets = [scene(seed) for seed in range(7)]  # divided by none of the numbers, in tasks of two
    target = write_split(tmp_path / "target", targets)
    prediction = write_split(
        tmp_path / "prediction",
        [moved(ground_truth, by=1 + place % 4) for place, ground_truth in enumerate(targets)],
    )
    write_instances(
        prediction,
        [moved(ground_truth, by=1 + place % 4) for place, ground_truth in enumerate(targets)],
    )
    written = set()
    for workers in (1, 2, 3):
        evaluation = evaluate_folders(target, prediction, workers=workers, chunk=2)
        written.add(write_json(tmp_path / f"{workers}.json", evaluation.scores()).read_bytes())
    assert len(written) == 1
    assert b'"boundary_AP"' in written.pop()


@pytest.mark.slow
def test_the_number_of_processes_does_not_change_a_bit(tmp_path):
    targets = [scene(seed) for seed in range(20)]  # more than one task
    target = write_split(tmp_path / "target", targets)
    prediction = write_split(
        tmp_path / "prediction",
        [moved(ground_truth, by=1 + place % 4) for place, ground_truth in enumerate(targets)],
    )
    one, two = (evaluate_folders(target, prediction, workers=workers) for workers in (1, 2))
    assert one.scores() == two.scores()
    assert one.counts.tobytes() == two.counts.tobytes()
    assert [image.record for image in one.images] == [image.record for image in two.images]


def test_the_ground_truth_against_itself_is_perfect(folders):
    scores = evaluate_folders(folders[0], folders[0]).scores()
    assert {
        scores[name]
        for name in ("PQ", "SQ", "RQ", "PQ/thing", "PQ/stuff", "mIoU", "pixel_accuracy")
    } == {1.0}


def test_class_maps_are_scored_where_there_are_some(folders):
    target, prediction = folders
    before = evaluate_folders(target, prediction).scores()
    for number, ground_truth in enumerate(
        TARGETS, start=1
    ):  # right everywhere, and something of a real class on void
        classes = ground_truth.category_map()
        write_labels(
            prediction / "semantic" / f"{number:03}.png", np.where(classes < 0, BALL, classes)
        )
    after = evaluate_folders(target, prediction).scores()
    assert after["mIoU"] == 1
    assert before["mIoU"] < 1
    assert after["PQ"] == before["PQ"]


def test_without_class_maps_pixels_of_no_segment_are_wrong(tmp_path):
    ids = np.full((4, 10), 1, np.int32)
    holes = np.where(np.arange(10) < 6, ids, 0).astype(np.int32)
    target = write_split(tmp_path / "target", [Panoptic.from_ids(ids, {1: BALL})])
    prediction = write_split(tmp_path / "prediction", [Panoptic.from_ids(holes, {1: BALL})])
    scores = evaluate_folders(target, prediction).scores()
    assert (scores["mIoU"], scores["PQ"]) == (0.6, 0.6)


def test_without_instances_there_is_no_ap(folders):
    (folders[1] / "instances.json").unlink()
    assert not any(name.startswith("AP") for name in evaluate_folders(*folders).scores())


BLOBS = Categories([Category(3, "blob", True, (200, 0, 0))])


def test_categories_that_occur_nowhere_are_named(tmp_path):
    ids = np.full((4, 10), 1, np.int32)
    target = write_split(tmp_path / "target", [Panoptic.from_ids(ids, {1: BALL})])
    assert evaluate_folders(target, target).absent == ["ground", "sky", "box"]


def test_void_may_stay_in_the_union(tmp_path):
    ids = np.full((4, 10), 1, np.int32)
    holes = np.where(np.arange(10) < 6, ids, 0).astype(np.int32)
    target = write_split(tmp_path / "target", [Panoptic.from_ids(holes, {1: BALL})])
    prediction = write_split(tmp_path / "prediction", [Panoptic.from_ids(ids, {1: BALL})])
    assert evaluate_folders(target, prediction).scores()["PQ"] == 1
    assert evaluate_folders(target, prediction, void_in_union=True).scores()["PQ"] == 0.6


def test_a_table_of_things_has_a_background_on_which_predictions_are_wrong(tmp_path):
    ids = np.zeros((10, 10), np.int32)
    ids[:5] = 1
    more = ids.copy()
    more[5:7] = 1  # 50 of 70 pixels
    target = write_split(tmp_path / "target", [Panoptic.from_ids(ids, {1: 3})], categories=BLOBS)
    prediction = write_split(
        tmp_path / "prediction", [Panoptic.from_ids(more, {1: 3})], categories=BLOBS
    )
    assert evaluate_folders(target, prediction).scores()["PQ"] == 5 / 7
    assert evaluate_folders(target, prediction, background=False).scores()["PQ"] == 1


def test_predictions_of_other_images_are_ignored(tmp_path, folders):
    fewer = write_split(tmp_path / "fewer", TARGETS[:3])
    whole = write_split(tmp_path / "three", PREDS[:3])
    assert (
        evaluate_folders(fewer, folders[1]).scores()["PQ"]
        == evaluate_folders(fewer, whole).scores()["PQ"]
    )


def test_a_missing_prediction_is_refused(folders):
    edit(folders[1], lambda index: index["annotations"].pop(2))
    with pytest.raises(
        ValueError,
        match=r"each of 5 images, but 1 have none, first 003\.png - predict the whole split",
    ):
        evaluate_folders(*folders)


def test_a_missing_png_is_named(folders):
    (folders[1] / "panoptic" / "002.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"002\.png: expected an image here"):
        evaluate_folders(*folders)


def test_a_prediction_of_another_size_is_refused(tmp_path, folders):
    other = write_split(tmp_path / "other", [*PREDS[:4], scene(9, width=40)])
    with pytest.raises(
        ValueError,
        match=r"005\.png: Expected a prediction of the target's size \(24, 32\), "
        r"but got \(24, 40\)",
    ):
        evaluate_folders(folders[0], other)


def test_a_category_the_ground_truth_does_not_know_is_refused(folders):
    edit(
        folders[1],
        lambda index: index["categories"].append({"id": 77, "name": "dragon", "isthing": 1}),
    )
    with pytest.raises(ValueError, match=r"id 77 \('dragon'\), which is not among them"):
        evaluate_folders(*folders)


def test_a_class_map_with_an_unknown_id_is_refused_by_name(folders):
    for number in range(1, 6):
        write_labels(
            folders[1] / "semantic" / f"{number:03}.png",
            np.full((24, 32), 200 if number == 4 else BALL),
        )
    with pytest.raises(
        ValueError, match=r"004\.png: Expected category ids of the table, but got \[200\]"
    ):
        evaluate_folders(*folders)


def test_broken_instances_are_refused_by_name(folders):
    (folders[1] / "instances.json").write_text('[{"image_id": 10}]')
    with pytest.raises(
        ValueError,
        match=r"instances\.json: .*a value at results\[0\].category_id \(of image_id 10\)",
    ):
        evaluate_folders(*folders)


def test_an_image_listed_twice_is_refused(folders):
    edit(folders[0], lambda index: index["images"].append(index["images"][1]))
    with pytest.raises(ValueError, match=r"images: expected each id once, but got 20 in rows"):
        evaluate_folders(*folders)


def test_a_ground_truth_without_images_is_refused(tmp_path, folders):
    (tmp_path / "empty").mkdir()
    write_index(tmp_path / "empty", CATEGORIES, [], [])
    with pytest.raises(ValueError, match="at least one image, but there is none"):
        evaluate_folders(tmp_path / "empty", folders[1])


def test_a_name_that_leaves_the_folder_is_refused(folders):
    edit(folders[1], lambda index: index["annotations"][0].update(file_name="../../secret.png"))
    with pytest.raises(ValueError, match="leaves the data folder"):
        evaluate_folders(*folders)


@pytest.mark.slow
def test_scoring_files_imports_neither_torch_nor_mlflow():
    heavy = ["torch", "torchmetrics", "lightning", "mlflow"]
    check = f"found = set({heavy}) & set(sys.modules); assert not found, found"
    code = f"import sys, maskmill.evaluation.evaluation; {check}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_image_costs_no_dense_matrix(tmp_path):
    many = Categories(
        [Category(number, f"class {number}", False, (1, 2, 3)) for number in range(1, 151)]
    )
    labels = [Panoptic.from_ids(np.full((8, 8), 1, np.int32), {1: 5})] * 2
    target = write_split(tmp_path / "target", labels, categories=many)
    evaluation = evaluate_folders(target, target)
    assert (
        sum(
            array.nbytes
            for array in vars(evaluation.images[0]).values()
            if isinstance(array, np.ndarray)
        )
        < 20_000
    )
    assert evaluation.confusion.shape == (151, 151)
    assert evaluation.confusion.sum() == evaluation.confusion[4, 4] == 2 * 64


def test_a_json_file_with_its_pngs_beside_is_a_folder(tmp_path):
    write_split(tmp_path / "split", TARGETS[:2])
    assert (
        PanopticFolder(tmp_path / "split" / "panoptic.json").records
        == PanopticFolder(tmp_path / "split").records
    )
    assert (
        evaluate_folders(tmp_path / "split" / "panoptic.json", tmp_path / "split").scores()["PQ"]
        == 1
    )
    assert ImageRecord(10, "001.png", 24, 32) in PanopticFolder(tmp_path / "split").records


def test_segments_are_counted_as_their_class_map():
    for pred, ground_truth in zip(PREDS, TARGETS, strict=True):
        maps = confusion_matrix(pred.category_map(), ground_truth.category_map(), CATEGORIES)
        assert np.array_equal(confusion_matrix(pred, ground_truth, CATEGORIES), maps)
        assert np.array_equal(confusion_matrix(pred.category_map(), ground_truth, CATEGORIES), maps)


def test_categories_called_like_a_group_hide_no_headline_number():
    renamed = Categories(
        [
            Category(row.id, name, row.isthing, row.color)
            for row, name in zip(CATEGORIES, ["stuff", "thing", "small", "large"], strict=True)
        ]
    )
    for kind in (PanopticQuality, MaskAP):
        plain, other = kind(CATEGORIES), kind(renamed)
        for metric in (plain, other):
            metric.update(PREDS, TARGETS)
        expected, got = plain.compute(), other.compute()
        for name in (
            ("PQ", "PQ/thing", "PQ/stuff")
            if kind is PanopticQuality
            else ("AP", "AP/small", "AP/large")
        ):
            assert got[name].isnan() if expected[name].isnan() else got[name] == expected[name]
