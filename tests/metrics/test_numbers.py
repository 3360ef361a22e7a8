"""Every metric on maps of every integer type and layout, and on the smallest and largest."""

import numpy as np
import pytest
import torch

from drawn_folders import BALL, BOX, GROUND, moved, scene
from maskmill.canonical.panoptic import MAX_ID, Panoptic
from maskmill.metrics import BoundaryIoU, CalibrationError, ConfusionMatrix, MaskAP, PanopticQuality
from maskmill.metrics.functional.confusion_matrix import confusion_matrix
from strategies import CATEGORIES

TARGET = scene(1)
PRED = moved(TARGET)
CLASSES = TARGET.category_map().clip(0), PRED.category_map().clip(0)  # without void: unsigned too
TYPES = ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"]
LAYOUTS = {
    "contiguous": lambda array: array,
    "transposed": lambda array: np.asfortranarray(array),
    "strided": lambda array: np.repeat(np.repeat(array, 2, axis=0), 3, axis=1)[::2, ::3],
    "reversed": lambda array: array[::-1].copy()[::-1],
}


def values(metric, preds, target):
    metric.update(preds, target)
    return {name: float(value) for name, value in metric.compute().items()}


def same(first, second):
    return np.array_equal([*first.values()], [*second.values()], equal_nan=True)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("dtype", TYPES)
def test_the_type_and_layout_of_maps_change_no_metric(dtype, layout):
    def converted(panoptic):
        ids = layout(panoptic.ids.astype(dtype))
        scores = {segment.id: segment.score or 0.5 for segment in panoptic.segments}
        return Panoptic.from_ids(ids, panoptic.category_of, scores=scores)

    pred, target = converted(PRED), converted(TARGET)
    for metric in (PanopticQuality, ConfusionMatrix, BoundaryIoU, MaskAP, CalibrationError):
        expected = values(metric(CATEGORIES), [PRED], [TARGET])
        assert same(values(metric(CATEGORIES), [pred], [target]), expected), metric
    maps = [layout(classes.astype(dtype)) for classes in CLASSES]
    for metric in (ConfusionMatrix, BoundaryIoU):
        expected = values(metric(CATEGORIES), [CLASSES[1]], [CLASSES[0]])
        assert same(values(metric(CATEGORIES), [maps[1]], [maps[0]]), expected), metric


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.uint16, torch.int16, torch.int32, torch.int64]
)
def test_the_type_and_layout_of_tensors_change_no_metric(dtype):
    def tensor(index):
        classes = torch.from_numpy(CLASSES[index].astype(np.int64))
        return classes.repeat_interleave(2, 1)[None, :, ::2].to(dtype)

    for metric in (ConfusionMatrix, BoundaryIoU):
        expected = values(metric(CATEGORIES), [CLASSES[1]], [CLASSES[0]])
        assert same(values(metric(CATEGORIES), tensor(1), tensor(0)), expected), metric
    pairs = [
        torch.stack([tensor(index), (tensor(index) == BALL).to(dtype)], dim=-1) for index in (1, 0)
    ]
    assert values(PanopticQuality(CATEGORIES), *pairs)["PQ"] > 0


def test_a_map_of_bool_has_one_segment():
    ids = np.array([[False, True, True]])
    panoptic = Panoptic.from_ids(ids, {1: BALL})
    assert [segment.area for segment in panoptic.segments] == [2]
    assert values(PanopticQuality(CATEGORIES), [panoptic], [panoptic])["PQ"] == 1


def grid(num_rows, *, ids=None, side=5):
    """Things as squares of (side - 1) px, alternately balls and boxes, on void."""
    count = num_rows**2
    numbers = np.arange(1, count + 1) if ids is None else ids
    square = np.pad(np.ones((side - 1, side - 1), np.int64), ((0, 1), (0, 1)))
    label_map = np.kron(numbers.reshape(num_rows, num_rows), square)
    category_of = {int(key): (BALL, BOX)[key % 2] for key in numbers}
    scores = {int(key): 0.5 + 0.4 * (key % 7) / 7 for key in numbers}
    return Panoptic.from_ids(label_map, category_of, scores=scores)


def plain_pq(pred, target, category_id):
    """Sum of IoU over matches, divided by TP + FP / 2 + FN / 2, pair by pair."""
    total = num_matches = 0.0
    true_ids = [key for key, value in target.category_of.items() if value == category_id]
    pred_ids = [key for key, value in pred.category_of.items() if value == category_id]
    for true_id in true_ids:
        for pred_id in np.unique(pred.ids[target.ids == true_id]).tolist():
            if pred_id in pred_ids:
                on_target = (target.ids > 0) & (pred.ids == pred_id)
                is_target = target.ids == true_id
                iou = (on_target & is_target).sum() / (on_target | is_target).sum()
                total += iou * (iou > 0.5)
                num_matches += iou > 0.5
    return total / (num_matches + (len(true_ids) + len(pred_ids) - 2 * num_matches) / 2)


def test_400_instances_with_ids_up_to_the_largest_have_the_plain_pq():
    random = np.random.default_rng(0)
    ids = np.sort(random.choice(np.arange(1, MAX_ID), 399, replace=False)) | 1
    ids = np.append(np.unique(ids)[:399], MAX_ID)
    ids = np.concatenate([ids, np.arange(2, 2 * (400 - len(ids)) + 1, 2)])
    target = grid(20, ids=ids)
    shifted = np.roll(target.ids, 1, axis=1)
    shifted[:30] = 0
    pred = Panoptic.from_ids(shifted, target.category_of)
    assert max(pred.category_of) == MAX_ID
    metric = PanopticQuality(CATEGORIES, background=False)
    scores = values(metric, [pred], [target])
    for category_id in set(target.category_of.values()):
        expected = plain_pq(pred, target, category_id)
        name = CATEGORIES[category_id].name
        assert scores[f"PQ/{name}"] == pytest.approx(expected, abs=1e-14)
    assert len(target.segments) == 400


def test_400_instances_against_themselves_are_perfect():
    target = grid(20)
    # COCO counts the 100 predictions of the highest scores of each class: here half of them.
    expected = {PanopticQuality: ("PQ", 1), ConfusionMatrix: ("mIoU", 1), MaskAP: ("AR100", 0.5)}
    for metric, (name, value) in expected.items():
        scores = values(metric(CATEGORIES), [target], [target])
        assert scores[name] == pytest.approx(value, abs=1e-14)


@pytest.mark.parametrize("ids", [[[0]], [[1]]])
def test_an_image_of_one_pixel_is_counted(ids):
    image = Panoptic.from_ids(np.array(ids), {1: BALL})
    expected = 1.0 if ids == [[1]] else np.nan
    for metric, name in (
        (PanopticQuality, "PQ"),
        (ConfusionMatrix, "mIoU"),
        (BoundaryIoU, "boundary_mIoU"),
        (MaskAP, "AP"),
    ):
        scores = values(metric(CATEGORIES), [image], [image])
        assert scores[name] == pytest.approx(expected, nan_ok=True), name


NO_IMAGE = torch.zeros(0, 4, 5, dtype=torch.int64)


@pytest.mark.parametrize(
    ("metric", "empty"),
    [
        (PanopticQuality, torch.zeros(0, 4, 5, 2, dtype=torch.int64)),
        (ConfusionMatrix, NO_IMAGE),
        (BoundaryIoU, NO_IMAGE),
        *((metric, []) for metric in (PanopticQuality, ConfusionMatrix, BoundaryIoU)),
        *((metric, []) for metric in (MaskAP, CalibrationError)),
    ],
)
def test_a_batch_without_images_changes_nothing(metric, empty):
    assert all(np.isnan(value) for value in values(metric(CATEGORIES), empty, empty).values())
    counted = metric(CATEGORIES)
    counted.update([PRED], [TARGET])
    before = {name: float(value) for name, value in counted.compute().items()}
    assert same(values(counted, empty, empty), before)


PIXEL = torch.full((1, 1, 1), GROUND)
MASK = {"masks": torch.ones(1, 4, 4, dtype=torch.bool), "labels": torch.tensor([BALL])}
UNKNOWN = Panoptic.from_ids(np.array([[1]]), {1: 99})


@pytest.mark.parametrize(
    ("update", "message"),
    [
        (lambda: Panoptic.from_ids(np.array([[1.5]]), {1: BALL}), "integers, but got float64"),
        (lambda: confusion_matrix(np.ones((1, 1)), np.ones((1, 1)), CATEGORIES), "integers"),
        (
            lambda: confusion_matrix(np.ones((0, 5), int), np.ones((0, 5), int), CATEGORIES),
            "Expected a map with pixels, but got an empty one",
        ),
        (
            lambda: ConfusionMatrix(CATEGORIES).update(PIXEL.bfloat16(), PIXEL.bfloat16()),
            "a tensor of integers, but got torch.bfloat16 - take the argmax",
        ),
        (lambda: BoundaryIoU(CATEGORIES).update(PIXEL + 0.4, PIXEL + 0.4), "got torch.float32"),
        (
            lambda: PanopticQuality(CATEGORIES).update(*[torch.zeros(1, 2, 2, 2)] * 2),
            "a tensor of integers, but got torch.float32",
        ),
        (
            lambda: PanopticQuality(CATEGORIES).update([UNKNOWN], [UNKNOWN]),
            r"category ids of the table, but got \[99\] - either correct the segments",
        ),
        (lambda: MaskAP(CATEGORIES).update([UNKNOWN], [UNKNOWN]), r"but got \[99\]"),
        (
            lambda: MaskAP(CATEGORIES).update([MASK | {"masks": torch.ones(1, 4, 4)}], [MASK]),
            "a tensor of integers, but got torch.float32",
        ),
        (
            lambda: MaskAP(CATEGORIES).update([MASK | {"scores": torch.ones(2)}], [MASK]),
            "as many scores as labels, but got 2 and 1 - filter both alike",
        ),
        (
            lambda: MaskAP(CATEGORIES).update(
                [MASK | {"masks": torch.ones(1, 4, 3, dtype=torch.bool)}], [MASK]
            ),
            r"masks of one size \(H, W\), but got \[\(4, 3\), \(4, 4\)\]",
        ),
    ],
)
def test_what_cannot_be_counted_is_refused(update, message):
    with pytest.raises(ValueError, match=message):
        update()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_scores_of_any_precision_rank_objects_and_nan_ranks_last(dtype):
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[0] = True
    scores = torch.tensor([0.5, float("nan")], dtype=dtype)  # the right one first
    pred = {"masks": masks, "labels": torch.tensor([BALL, BALL]), "scores": scores}
    target = {"masks": masks[:1], "labels": torch.tensor([BALL])}
    assert values(MaskAP(CATEGORIES), [pred], [target])["AP"] == pytest.approx(1)
    wrong_first = pred | {"scores": scores.flip(0)}
    assert values(MaskAP(CATEGORIES), [wrong_first], [target])["AP"] == pytest.approx(0.5)


def test_values_of_255_are_a_mask():
    bright = MASK | {"masks": 255 * MASK["masks"].to(torch.uint8)}
    assert values(MaskAP(CATEGORIES), [bright], [MASK])["AP"] == pytest.approx(1)
