"""Predictions that do not fit the ground truth are refused by file, item and fix."""

import json

import numpy as np
import pytest

from drawn_folders import BALL, moved, scene, write_instances, write_split
from maskmill.canonical.files import read_json
from maskmill.canonical.panoptic import Panoptic
from maskmill.evaluation.evaluation import evaluate_folders
from maskmill.evaluation.folders import FolderScorer, read_pair, read_results
from mutated import mutations
from strategies import CATEGORIES

TARGETS = [scene(seed) for seed in range(2)]
PREDS = [moved(target) for target in TARGETS]


@pytest.fixture
def folders(tmp_path):
    return write_split(tmp_path / "target", TARGETS), write_split(tmp_path / "prediction", PREDS)


def edit(folder, change):
    """Change the index of a split."""
    index = read_json(folder / "panoptic.json")
    change(index)
    (folder / "panoptic.json").write_text(json.dumps(index))


def swap_names(index):
    first, second, *_ = index["categories"]
    for key in ("name", "isthing", "color"):
        first[key], second[key] = second[key], first[key]


def test_predictions_whose_names_are_swapped_are_refused(folders):
    edit(folders[1], swap_names)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        evaluate_folders(*folders)
    assert str(caught.value) == (
        f"{folders[1] / 'panoptic.json'}: expected the categories of the ground truth, but got "
        "id 7 'sky' (stuff) instead of 'ground' (stuff), "
        "id 0 'ground' (stuff) instead of 'sky' (stuff) - either correct the table or remove "
        "`categories` from the file if its ids are those of the ground truth"
    )


def test_predictions_without_a_table_are_scored_by_id(folders):
    before = evaluate_folders(*folders).scores()
    edit(folders[1], lambda index: index.pop("categories"))
    assert evaluate_folders(*folders).scores() == before


@pytest.mark.parametrize("side", [0, 1], ids=["target", "prediction"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.pop(), "Expected every id of the map among the segments"),
        (lambda rows: rows.append({"id": 900, "category_id": 7}), "contains ids [900], but no"),
    ],
    ids=["unlisted", "absent"],
)
@pytest.mark.parametrize("metrics", [["PQ"], ["PQ", "AP"]], ids=["PQ", "AP"])
def test_ids_that_differ_from_their_list_are_named_with_the_file(
    folders, side, change, message, metrics
):
    write_instances(folders[1], PREDS)
    edit(folders[side], lambda index: change(index["annotations"][1]["segments_info"]))
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        evaluate_folders(*folders, metrics=metrics)
    folder = folders[side]
    assert str(caught.value).startswith(f"{folder / 'panoptic'}")
    assert message in str(caught.value)


def whole(value, category_id):
    """An image of 8 x 8 px that consists of one segment; 0: of none."""
    return Panoptic.from_ids(np.full((8, 8), value, np.int32), {value: category_id})


@pytest.mark.parametrize(
    ("target", "pred", "expected"),
    [
        # Every pixel is void: nothing is expected, and nothing that is predicted there counts.
        pytest.param(whole(0, 7), whole(0, 7), {"PQ": None, "mIoU": None}, id="void"),
        pytest.param(whole(0, 7), whole(1, 21), {"PQ": None, "mIoU": None}, id="on-void"),
        pytest.param(whole(1, 21), whole(0, 7), {"PQ": 0, "mIoU": 0}, id="nothing"),
        pytest.param(whole(1, 7), whole(5, 7), {"PQ": 1, "PQ/thing": None, "mIoU": 1}, id="stuff"),
    ],
)
def test_images_of_one_segment_or_none_have_the_expected_scores(tmp_path, target, pred, expected):
    target_folder = write_split(tmp_path / "target", [target])
    pred_folder = write_split(tmp_path / "pred", [pred])
    write_instances(pred_folder, [pred])
    scores = evaluate_folders(target_folder, pred_folder).scores()
    assert {name: scores[name] for name in expected} == expected


def test_an_image_of_one_crowd_is_neither_hit_nor_missed(tmp_path):
    crowd = Panoptic.from_ids(np.ones((8, 8), np.int32), {1: BALL}, crowds={1})
    target = write_split(tmp_path / "target", [crowd])
    for name, pred in (("none", whole(0, 7)), ("ball", whole(3, BALL))):
        prediction = write_split(tmp_path / name, [pred])
        write_instances(prediction, [pred])
        scores = evaluate_folders(target, prediction).scores()
        assert (scores["PQ"], scores["AP"]) == (None, None)


def test_one_category_alone_is_scored(tmp_path):
    table = type(CATEGORIES)([CATEGORIES[BALL]])
    target = write_split(tmp_path / "target", [whole(1, BALL)], categories=table)
    scores = evaluate_folders(target, target).scores()
    assert (scores["PQ"], scores["mIoU"]) == (1, 1)


def test_a_prediction_folder_without_images_is_refused(tmp_path, folders):
    empty = write_split(tmp_path / "empty", [])
    with pytest.raises(ValueError, match=r"a prediction for each of 2 images, but 2 have none"):
        evaluate_folders(folders[0], empty)
    (tmp_path / "bare").mkdir()
    with pytest.raises(FileNotFoundError, match=r"bare: expected a folder with panoptic\.json"):
        evaluate_folders(folders[0], tmp_path / "bare")


@pytest.mark.slow
def test_a_changed_result_is_refused_by_name_or_scored(folders):
    """Every value of instances.json replaced by each of the mutations: no other exception."""
    path = folders[1] / "instances.json"
    write_instances(folders[1], PREDS)
    results = json.loads(path.read_text())[:2]
    target, pred = read_pair(*folders)
    record = target.records[0]
    messages = []
    for place, mutated in mutations(results):
        path.write_text(json.dumps(mutated))
        try:
            rows = read_results(folders[1], target)
            FolderScorer(target, pred, None, False, False).score([record], rows)
        except ValueError as error:
            messages.append(f"{place}: {error}")
    assert len(messages) > 150
    assert [text for text in messages if "instances.json" not in text or "\n" in text] == []


def test_results_that_name_the_file_the_row_and_the_fix(folders):
    write_instances(folders[1], PREDS)
    path = folders[1] / "instances.json"
    results = json.loads(path.read_text())
    results[0]["segmentation"]["counts"] = results[0]["segmentation"]["counts"][:-1]
    path.write_text(json.dumps(results))
    with pytest.raises(
        ValueError,
        match=r"001\.png: instances\.json: image_id 10, result 0: .* - predict",
    ):
        evaluate_folders(*folders)
