"""Mask AP: the official numbers, and cases whose answer anyone knows."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.files import read_json
from maskmill.canonical.panoptic import Panoptic
from maskmill.metrics import MaskAP
from maskmill.metrics.functional.mask_ap import NAMES, mask_ap, score_matches

GRASS, BALL, BOX = 8, 3, 5
GARDEN = Categories(
    [
        Category(GRASS, "grass", False, (0, 90, 0)),
        Category(BALL, "ball", True, (200, 0, 0)),
        Category(BOX, "box", True, (0, 0, 200)),
    ]
)


def garden(*things, scores=None, crowds=()):
    """Grass, and things at (category, y, x, size) with ids 2, 3, ..."""
    ids = np.full((64, 64), 1, np.int32)
    category_of = {1: GRASS}
    for number, (category_id, y, x, size) in enumerate(things, start=2):
        ids[y : y + size, x : x + size], category_of[number] = number, category_id
    return Panoptic.from_ids(ids, category_of, scores=scores, crowds=crowds)


def ap(*pairs):
    metric = MaskAP(GARDEN)
    for pred, target in pairs:
        metric.update([pred], [target])
    return {name: float(value) for name, value in metric.compute().items()}


TARGET = garden((BALL, 2, 2, 10), (BALL, 20, 20, 40), (BOX, 2, 30, 12))


@pytest.mark.slow
def test_coco_s_own_example_gives_all_twelve_official_numbers(third_party_data):
    golden = third_party_data / "golden" / "coco_instance_ap"
    expected = read_json(golden / "expected.json")
    ground_truth = read_json(golden / "instances_val2014_100.json")
    results = read_json(golden / "instances_val2014_fakesegm100_results.json")
    scores = mask_ap(ground_truth, results).numbers
    assert list(scores) == list(NAMES)
    assert [f"{value:.3f}" for value in scores.values()] == [
        f"{value:.3f}" for value in expected["segm"]
    ]  # every digit COCO prints


@pytest.mark.slow
def test_the_mean_over_classes_is_the_headline_number(third_party_data):
    golden = third_party_data / "golden" / "coco_instance_ap"
    scores = mask_ap(
        read_json(golden / "instances_val2014_100.json"),
        read_json(golden / "instances_val2014_fakesegm100_results.json"),
    )
    occurring = [value for value in scores.per_class.values() if not np.isnan(value)]
    assert len(scores.per_class) == 80
    assert sum(occurring) / len(occurring) == pytest.approx(
        scores.numbers["AP"], abs=1e-14
    )  # every class has as many points of precision


def test_each_class_has_its_own_ap():
    scores = ap((garden((BALL, 2, 2, 10)), TARGET))
    assert (scores["AP/ball"], scores["AP/box"]) == (
        pytest.approx(51 / 101, abs=1e-15),
        0,
    )  # one of two balls: 51 of 101 recalls


def test_no_prediction_at_all_gives_an_ap_of_0():
    scores = ap((garden(), TARGET))
    assert scores["AP"] == scores["AP50"] == scores["AR100"] == 0


def test_without_objects_ap_is_nan():
    assert np.isnan(ap((garden((BALL, 2, 2, 10)), garden()))["AP"])


def test_a_perfect_prediction_gives_1():
    scores = ap((TARGET, TARGET), (garden((BOX, 5, 5, 20)), garden((BOX, 5, 5, 20))))
    assert (
        scores["AP"]
        == scores["AP50"]
        == scores["AP75"]
        == scores["AR100"]
        == pytest.approx(1, abs=1e-15)
    )


def test_a_table_without_things_has_no_ap():
    assert score_matches([], []).numbers == {}


def test_a_mask_of_iou_one_half_and_a_bit_counts_at_0_5_alone():
    # 10 x 10 against 10 x 19: IoU 100 / 190 = 0.526, above the first of the ten thresholds 0.5,
    # 0.55, ... only
    wide = np.array(garden((BALL, 0, 0, 10)).ids)
    wide[0:10, 10:19] = 2
    pred = Panoptic.from_ids(wide, {1: GRASS, 2: BALL})
    scores = ap((pred, garden((BALL, 0, 0, 10))))
    assert (scores["AP50"], scores["AP75"]) == (
        pytest.approx(1, abs=1e-15),
        0,
    )  # a recall of 100 hits
    assert scores["AP"] == pytest.approx(0.1, abs=1e-15)


def test_a_false_alarm_hurts_only_above_the_score_of_a_hit():
    ground_truth = garden((BALL, 2, 2, 10))
    two = [(BALL, 2, 2, 10), (BALL, 40, 40, 10)]
    assert ap((garden(*two, scores={2: 0.9, 3: 0.4}), ground_truth))["AP"] == pytest.approx(
        1, abs=1e-15
    )
    assert ap((garden(*two, scores={2: 0.4, 3: 0.9}), ground_truth))["AP"] == pytest.approx(
        0.5, abs=1e-15
    )  # precision 1 of 2 at full recall


def test_a_crowd_is_neither_matched_nor_missed():
    ground_truth = garden((BALL, 2, 2, 10), (BALL, 30, 30, 30), crowds={3})
    for pred in (
        garden((BALL, 2, 2, 10)),
        garden((BALL, 2, 2, 10), (BALL, 30, 30, 30), scores={2: 0.5, 3: 0.9}),
    ):
        assert ap((pred, ground_truth))["AP"] == pytest.approx(1, abs=1e-15)


def test_sizes_are_those_of_masks_and_not_of_boxes():
    # a frame of 400 pixels in a box of 40 x 40 = 1600 is small (< 32 x 32), not medium
    ids = garden((BALL, 0, 0, 40)).ids.copy()
    ids[3:37, 3:37] = 1
    frame = Panoptic.from_ids(ids, {1: GRASS, 2: BALL})
    scores = ap((frame, frame))
    assert scores["AP/small"] == pytest.approx(1, abs=1e-15)
    assert np.isnan(scores["AP/medium"])


def result(mask, **other):
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {
        "image_id": 1,
        "category_id": BALL,
        "segmentation": {"size": [64, 64], "counts": rle["counts"].decode()},
        "score": 0.5,
        **other,
    }


def one_ball():
    mask = np.zeros((64, 64), np.uint8)
    mask[0:10, 0:10] = 1
    ball = result(mask) | {"id": 1, "area": 100, "iscrowd": 0, "bbox": [0, 0, 10, 10]}
    return mask, {
        "images": [{"id": 1, "height": 64, "width": 64}],
        "annotations": [ball],
        "categories": [{"id": BALL, "name": "ball"}],
    }


def test_a_box_beside_the_mask_changes_no_number():
    # Left to itself, the evaluator takes the box's area for the mask's: this miss of 64 pixels
    # would count as large, and not as small.
    mask, ground_truth = one_ball()
    plain = [result(mask), result(np.eye(64), score=0.9)]
    boxed = [row | {"bbox": [0, 0, 64, 64]} for row in plain]
    assert mask_ap(ground_truth, plain).numbers["AP/small"] == pytest.approx(0.5, abs=1e-15)
    assert mask_ap(ground_truth, boxed).numbers == pytest.approx(
        mask_ap(ground_truth, plain).numbers, abs=0, nan_ok=True
    )


def test_results_of_other_images_do_not_count_and_are_reported(caplog):
    mask, ground_truth = one_ball()
    scores = mask_ap(ground_truth, [result(mask), result(mask, image_id=7, score=0.9)]).numbers
    assert scores["AP"] == pytest.approx(1, abs=1e-15)
    assert "1 of 2 results belong to images that the ground truth does not have" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"segmentation": {"size": [32, 32], "counts": "0"}},
            r"image_id 1, result 1: expected size \[64, 64\], but got \[32, 32\]",
        ),
        (
            {"segmentation": {"size": [64, 64], "counts": ""}},
            "image_id 1, result 1: expected runs of 4096 pixels in all, but got 0",
        ),
        (
            {"segmentation": [[0, 0, 0, 9, 9, 9]]},
            r"expected a valid dictionary at results\[1\].segmentation \(of image_id 1\)",
        ),
        ({"score": float("nan")}, r"expected a finite number at results\[1\].score"),
        ({"score": True}, r"expected a valid number at results\[1\].score .*, but got True"),
        ({"category_id": GRASS}, r"the id of a thing at results\[1\].category_id .*, but got 8"),
    ],
)
def test_a_result_that_would_be_counted_wrong_is_refused(wrong, message):
    mask, ground_truth = one_ball()
    with pytest.raises(ValueError, match=message):
        mask_ap(ground_truth, [result(mask), result(mask) | wrong])


def test_results_without_a_mask_are_refused():
    with pytest.raises(ValueError, match=r"a value at results\[0\].segmentation"):
        mask_ap(
            one_ball()[1], [{"image_id": 1, "category_id": BALL, "bbox": [0, 0, 9, 9], "score": 1}]
        )
    with pytest.raises(ValueError, match="a valid list at results, but got {'annotations'"):
        mask_ap(one_ball()[1], {"annotations": []})


def test_metrics_merged_equal_one_that_saw_all():
    pairs = [
        (garden((BALL, 3, 3, 10)), TARGET),
        (TARGET, TARGET),
        (garden(), garden((BOX, 5, 5, 20))),
        (garden((BOX, 1, 1, 9)), garden()),
    ]
    merged, other = MaskAP(GARDEN), MaskAP(GARDEN)
    for place, (pred, target) in enumerate(pairs):
        (merged if place < 2 else other).update([pred], [target])
    merged.merge_state(other)
    got = {name: float(value) for name, value in merged.compute().items()}
    assert got == pytest.approx(ap(*pairs), abs=0, nan_ok=True)
