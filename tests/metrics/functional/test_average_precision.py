"""Our matching and averaging against COCO's own evaluator, bit for bit, on drawn objects; and
resampling against repeating images.
"""

import contextlib
import copy
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskmill.canonical.files import read_json
from maskmill.evaluation.weighted_ap import WeightedAP
from maskmill.metrics.functional.mask_ap import NAMES, mask_ap, score_matches
from maskmill.metrics.functional.mask_matching import match_masks, pack, split, unpack
from maskmill.metrics.functional.masks import Masks

SIZE = 128
CATEGORY_IDS = (2, 5, 9)

# Few places, sizes and scores: objects overlap by more than one half, IoUs and scores are equal,
# crowds are wanted twice, and every size
# range occurs. Made worse on purpose, one rule after the other, `_match` fails on these.
boxes = st.tuples(
    st.sampled_from([0, 8, 16]),
    st.sampled_from([0, 8]),
    st.sampled_from([32, 32, 104]),
    st.sampled_from([32, 104]),
)
kinds = st.sampled_from([2, 2, 2, 5])
targets = st.lists(
    st.tuples(
        kinds,
        boxes,
        st.sampled_from([False, False, True]),
        st.sampled_from([None, None, 1024.0, 9216.0]),
    ),
    max_size=6,
)
predictions = st.lists(st.tuples(kinds, boxes, st.sampled_from([0.1, 0.5, 0.5, 0.9])), max_size=8)
images = st.lists(st.tuples(targets, predictions), min_size=1, max_size=4)


def rle(box):
    x, y, width, height = box
    mask = np.zeros((SIZE, SIZE), np.uint8, order="F")
    mask[y : y + height, x : x + width] = 1
    code = coco_mask.encode(mask)
    return {"size": [SIZE, SIZE], "counts": code["counts"].decode()}


def coco_files(drawn):
    """Ground truth and results of drawn images, in COCO's form."""
    annotations, results = [], []
    for image_id, (things, found) in enumerate(drawn, start=1):
        for category_id, box, iscrowd, area in things:
            code = rle(box)
            given_area = (
                float(coco_mask.area(code)) if area is None else area
            )  # COCO's own areas are those of polygons: near the mask's
            row = {
                "image_id": image_id,
                "category_id": category_id,
                "segmentation": code,
                "area": given_area,
                "iscrowd": int(iscrowd),
            }
            annotations.append(row | {"id": len(annotations) + 1, "bbox": list(box)})
        results += [
            {"image_id": image_id, "category_id": key, "segmentation": rle(box), "score": score}
            for key, box, score in found
        ]
    ground_truth = {
        "images": [
            {"id": number, "height": SIZE, "width": SIZE} for number in range(1, len(drawn) + 1)
        ],
        "annotations": annotations,
        "categories": [{"id": key, "name": str(key)} for key in CATEGORY_IDS],
    }
    return ground_truth, results


def official(ground_truth, results):
    """What pycocotools says."""
    with contextlib.redirect_stdout(io.StringIO()):
        target = COCO()
        target.dataset = copy.deepcopy(ground_truth)
        target.createIndex()
        predicted = target.loadRes(copy.deepcopy(results)) if results else COCO()
        evaluator = COCOeval(target, predicted, "segm")
        if not results:
            evaluator.params.imgIds, evaluator.params.catIds = (
                sorted(target.getImgIds()),
                sorted(target.getCatIds()),
            )
        for step in (evaluator.evaluate, evaluator.accumulate, evaluator.summarize):
            step()
    return evaluator


def assert_equal_to_official(ground_truth, results):
    scores, expected = mask_ap(ground_truth, results), official(ground_truth, results)
    curves, theirs = scores.curves, expected.eval
    assert np.array_equal(np.moveaxis(curves.precision, 0, 3), theirs["precision"][..., 2])
    assert np.array_equal(curves.score, theirs["scores"][:, :, :, 0, 2])
    assert np.array_equal(np.moveaxis(curves.recall, 0, 2), theirs["recall"][..., 2])
    assert np.array_equal(np.moveaxis(curves.recall_of_few, 0, 2), theirs["recall"][:, :, 0, :2])
    assert [
        scores.numbers[name] if scores.numbers[name] == scores.numbers[name] else -1
        for name in NAMES
    ] == expected.stats.tolist()


@pytest.mark.slow
@given(images)
@settings(max_examples=100)
def test_every_number_is_the_official_one_to_the_last_bit(drawn):
    assert_equal_to_official(*coco_files(drawn))


@pytest.mark.slow
def test_coco_s_own_example_is_equal_to_the_last_bit(third_party_data):
    golden = third_party_data / "golden" / "coco_instance_ap"
    ground_truth = read_json(golden / "instances_val2014_100.json")
    assert_equal_to_official(
        ground_truth, read_json(golden / "instances_val2014_fakesegm100_results.json")
    )


def test_of_more_than_100_predictions_of_a_class_the_best_count():
    box = (0, 0, 16, 16)
    misses = [(2, (64, 64, 8, 8), 0.5)] * 120
    for hit in (0.4, 0.5, 0.6):  # beyond the hundred, among equals, first
        assert_equal_to_official(
            *coco_files(
                [
                    (
                        [(2, box, False, None)],
                        [*misses[:60], (2, box, hit), *misses[60:], (5, box, 0.1)],
                    )
                ]
            )
        )


def test_of_two_objects_equally_near_the_later_is_taken():
    earlier, nearer, later = (
        (0, 0, 32, 32),
        (8, 0, 32, 32),
        (16, 0, 32, 32),
    )  # 24 of 40 columns with either
    for second in (earlier, later):
        ground_truth = [(2, earlier, False, None), (2, later, False, None)]
        assert_equal_to_official(
            *coco_files([(ground_truth, [(2, nearer, 0.9), (2, second, 0.5)])])
        )


def matched(drawn):
    ground_truth, results = coco_files(drawn)
    for place, row in enumerate(results):
        row["score"] += (
            place / 1000
        )  # equal scores in one image stand side by side when weighted, and in turns when repeated
    numbers = [row["id"] for row in ground_truth["images"]]
    sizes = [(row["height"], row["width"]) for row in ground_truth["images"]]
    of_image = [
        [
            [row for row in rows if row["image_id"] == number]
            for rows in (results, ground_truth["annotations"])
        ]
        for number in numbers
    ]
    return [
        match_masks(Masks.from_rows(predicted, size), Masks.from_rows(true, size))
        for (predicted, true), size in zip(of_image, sizes, strict=True)
    ]


@pytest.mark.slow
@given(images, st.data())
@settings(max_examples=50)
def test_weights_count_like_repeated_images(drawn, data):
    weights = data.draw(
        st.lists(
            st.lists(st.integers(0, 3), min_size=len(drawn), max_size=len(drawn)),
            min_size=1,
            max_size=3,
        )
    )
    matches = matched(drawn)
    scores = WeightedAP(matches, CATEGORY_IDS, sizes=True).score(np.array(weights, float))
    for row, times in enumerate(weights):
        repeated = [
            image for image, number in zip(matches, times, strict=True) for _ in range(number)
        ]
        expected = score_matches(repeated, CATEGORY_IDS)
        for name, value in expected.numbers.items():
            assert scores[name][row] == pytest.approx(value, abs=1e-12, nan_ok=True), (
                name
            )  # sums of 101 numbers in another order
        of_class = [expected.per_class[key] for key in CATEGORY_IDS]
        assert scores["AP/class"][row] == pytest.approx(of_class, abs=1e-12, nan_ok=True)


@pytest.mark.slow
@given(images)
@settings(max_examples=20)
def test_matches_survive_being_packed(drawn):
    matches = matched(drawn)
    back = [unpack(part) for part in split(b"".join(pack(image).tobytes() for image in matches))]
    for first, second in zip(matches, back, strict=True):
        for name, column in vars(first).items():
            assert np.array_equal(column, getattr(second, name)), name
            assert column.dtype == getattr(second, name).dtype, name
