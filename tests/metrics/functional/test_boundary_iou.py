"""Boundaries against the paper's algorithm, in its plain form: one erosion for every class and
mask.
"""

import itertools
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.panoptic import Panoptic
from maskmill.metrics import BoundaryIoU, MaskAP
from maskmill.metrics.functional.boundary_iou import boundary_areas, on_boundary
from maskmill.metrics.functional.mask_matching import THRESHOLDS
from maskmill.metrics.functional.mask_runs import (
    MaskRuns,
    boundaries,
    boundary_distance,
    common_pixels,
)
from maskmill.metrics.functional.masks import MaskPairs, Masks
from strategies import CATEGORIES, panoptic_pairs, panoptics

K = 3


def plain_boundary(mask, distance):
    """G_d intersected with G: the mask without its erosion; beyond the image's edge there is no
    mask (Cheng et al. 2021, sec. 3).
    """
    padded = np.pad(mask.astype(np.uint8), 1)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=distance)[1:-1, 1:-1]
    return mask & (eroded == 0)


@st.composite
def class_maps(draw, number=1):
    """Class indices 0..K, K for void, in blocks that are larger than the boundary is wide, or
    smaller.
    """
    height, width, block = (
        draw(st.integers(1, 40)),
        draw(st.integers(1, 40)),
        draw(st.integers(1, 12)),
    )
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    coarse = random.integers(0, K + 1, (number, -(-height // block), -(-width // block))).astype(
        np.uint8
    )
    return [np.repeat(np.repeat(grid, block, 0), block, 1)[:height, :width] for grid in coarse]


@given(class_maps(), st.integers(1, 9))
def test_one_filter_finds_the_boundaries_of_all_classes(maps, distance):
    (classes,) = maps
    expected = np.zeros(classes.shape, bool)
    for index in range(K + 1):
        expected |= plain_boundary(classes == index, distance)
    assert np.array_equal(on_boundary(classes, distance), expected)


@given(class_maps(number=2), st.booleans())
def test_areas_are_those_of_the_classes_one_by_one(maps, background):
    pred, target = maps
    distance = boundary_distance(*target.shape)
    counted = np.ones(target.shape, bool) if background else target != K
    expected = []
    for index in range(K):
        true, predicted = (
            plain_boundary(classes == index, distance) & counted for classes in (target, pred)
        )
        expected.append([(true & predicted).sum(), (true | predicted).sum()])
    assert boundary_areas(pred, target, K, background=background).tolist() == expected


@pytest.mark.parametrize(
    ("size", "distance"), [((480, 640), 16), ((1024, 2048), 46), ((8, 6), 1), ((1, 1), 1)]
)
def test_a_boundary_is_2_percent_of_the_diagonal_wide(size, distance):
    assert boundary_distance(*size) == distance


ROAD = Categories([Category(4, "road", False, (9, 9, 9)), Category(2, "car", True, (200, 0, 0))])


def frame(first, size=60):
    """A square road in a square image, `first` pixels from each edge; void around."""
    ids = np.zeros((size, size), np.int32)
    ids[first : size - first, first : size - first] = 1
    return Panoptic.from_ids(ids, {1: 4})


def test_boundary_iou_equals_the_count_by_hand():
    # 60 x 60: 1.7 pixels, so 2. Boundaries: of 40 x 40: 40^2 - 36^2 = 304 pixels; of 38 x 38: 38^2
    # - 34^2 = 288, one ring of both: 4 x 37
    scores = {}
    for background in (False, True):
        metric = BoundaryIoU(ROAD, background=background)
        metric.update([frame(11)], [frame(10)])
        scores[background] = {name: float(value) for name, value in metric.compute().items()}
    assert (
        scores[True]["boundary_IoU/road"]
        == scores[True]["boundary_mIoU"]
        == pytest.approx(148 / (304 + 288 - 148), abs=1e-15)
    )
    assert math.isnan(scores[True]["boundary_IoU/car"])
    assert scores[False] == pytest.approx(
        scores[True], nan_ok=True
    )  # nothing was predicted on void


def test_what_is_predicted_on_void_leaves_the_boundary():
    metric = BoundaryIoU(ROAD)
    metric.update(
        [frame(0)], [frame(10)]
    )  # its boundary lies within 2 pixels of the image's edge, where the ground truth is void
    assert float(metric.compute()["boundary_mIoU"]) == 0
    metric.reset()
    metric.update([frame(10)], [frame(10)])
    assert float(metric.compute()["boundary_mIoU"]) == 1


@pytest.mark.slow
@given(st.lists(panoptic_pairs(), min_size=2, max_size=4))
@settings(max_examples=25)
def test_boundary_metrics_merged_equal_one_that_saw_all(stream):
    for build in (BoundaryIoU, lambda table: MaskAP(table, boundary=True)):
        whole, first, second = (build(CATEGORIES) for _ in range(3))
        for place, (pred, target) in enumerate(stream):
            whole.update([pred], [target])
            (first if place % 2 else second).update([pred], [target])
        first.merge_state(second)
        expected = whole.compute()
        for name, value in first.compute().items():
            assert value.nan_to_num(-1) == expected[name].nan_to_num(-1), name


# --- masks
# ------------------------------------------------------------------------------------------


@given(panoptics())
def test_all_masks_of_a_map_are_coco_s_codes(panoptic):
    wanted = [segment.id for segment in panoptic.segments][::-1]
    rles = MaskRuns.from_ids(panoptic.ids, wanted).codes()
    assert len(rles) == len(wanted)
    for key, rle in zip(wanted, rles, strict=True):
        assert rle == coco_mask.encode(np.asfortranarray(panoptic.ids == key, dtype=np.uint8))


SMALL, LARGE = [65_535, 1, 2], [70_000, 65_537, 1]


@pytest.mark.parametrize(
    ("dtype", "ids"),
    [(np.uint16, SMALL), *itertools.product([np.int32, np.int64], [SMALL, [65_536, 3, 2], LARGE])],
)
def test_masks_of_ids_of_any_size_and_type_are_coco_s_codes(dtype, ids):
    grid = np.random.default_rng(0).choice(ids, (7, 11)).astype(dtype)
    for view in (grid, grid[::-1, 1::2], grid.T):
        rles = MaskRuns.from_ids(view, ids).codes()
        masks = [np.asfortranarray(view == key, dtype=np.uint8) for key in ids]
        assert rles == [coco_mask.encode(mask) for mask in masks]


@st.composite
def bitmaps(draw, number=1):
    """Sets of up to six masks (N, H, W) of one size; they overlap, or are parts of one map."""
    is_map = draw(st.booleans())
    sets = []
    for grid in draw(class_maps(number)):
        random = np.random.default_rng(draw(st.integers(0, 2**32)))
        masks = [grid == index for index in range(draw(st.integers(0, K + 1)))]
        if not is_map:
            masks = [
                np.roll(mask, random.integers(0, 9), axis=(0, 1)) for mask in masks + masks[:2]
            ]
        sets.append(np.array(masks, bool).reshape(-1, *grid.shape))
    return sets


def as_codes(masks):
    return [coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in masks]


@given(bitmaps(), st.randoms(use_true_random=False))
def test_masks_come_back_from_codes_and_bitmaps_and_in_any_order(sets, random):
    (masks,) = sets
    size = masks.shape[1:]
    order = np.array(random.sample(range(len(masks)), len(masks)), np.int64)
    for runs in (MaskRuns.from_bitmaps(masks), MaskRuns.from_codes(as_codes(masks), size)):
        assert runs.codes() == as_codes(masks)
        assert runs.take(order).codes() == as_codes(masks[order])
        assert runs.area.tolist() == masks.sum(axis=(1, 2)).tolist()


@given(bitmaps(number=2))
def test_pixels_in_common_are_those_of_the_bitmaps(sets):
    pred, target = sets
    expected = (pred[:, None] & target).sum(axis=(2, 3))
    found = common_pixels(MaskRuns.from_bitmaps(pred), MaskRuns.from_bitmaps(target))
    assert np.array_equal(found, expected)


@given(bitmaps())
def test_the_boundaries_of_all_masks_are_those_of_each(sets):
    (masks,) = sets
    distance = boundary_distance(*masks.shape[1:])
    expected = [plain_boundary(mask, distance) for mask in masks]
    assert boundaries(MaskRuns.from_bitmaps(masks)).codes() == as_codes(expected)


@given(panoptic_pairs())
def test_boundary_iou_of_masks_that_may_match_is_the_smaller_of_both(pair):
    pred, target = (Masks.from_things(panoptic, CATEGORIES) for panoptic in pair)
    expected = np.zeros((len(pred.score), len(target.score)))
    for row, predicted in enumerate(as_bitmaps(pred)):
        for column, true in enumerate(as_bitmaps(target)):
            edges = [
                plain_boundary(mask, boundary_distance(*mask.shape)) for mask in (predicted, true)
            ]
            if pred.category_id[row] == target.category_id[column]:
                share = [
                    (a & b).sum() / (a.sum() if target.iscrowd[column] else max(1, (a | b).sum()))
                    for a, b in ((predicted, true), edges)
                ]
                expected[row, column] = (
                    min(share) if share[0] >= 0.5 else share[0]
                )  # below, no pair matches anyway
    assert np.array_equal(MaskPairs(pred, target).boundary_iou, expected)


def as_bitmaps(masks):
    return [coco_mask.decode(rle).astype(bool) for rle in masks.runs.codes()]


@pytest.mark.parametrize("number", [300, 70_000])
def test_more_masks_than_a_byte_or_two_can_number_keep_their_boundaries(number):
    ids = np.arange(1, number + 1).reshape(-1, 100)
    runs = boundaries(MaskRuns.from_ids(ids, range(1, number + 1)))
    assert runs.area.tolist() == [1] * number


def test_boundary_ap_falls_where_only_the_outline_is_wrong():
    # 60 x 60 and 56 x 56 in 200 x 200, so 6 pixels wide: IoU 56^2 / 60^2 = 0.871; boundaries 1296
    # and 1200, 4 of 6 rings of both:
    # 56^2 - 48^2 = 832 of 1296 + 1200 - 832, IoU 0.5
    target, pred = (car(place, size) for place, size in ((50, 60), (52, 56)))
    values = {}
    for boundary in (False, True):
        metric = MaskAP(ROAD, boundary=boundary)
        metric.update([pred], [target])
        values |= {name: float(value) for name, value in metric.compute().items()}
    assert (
        values["AP"]
        == pytest.approx((THRESHOLDS <= 56**2 / 60**2).mean(), abs=1e-15)
        == pytest.approx(0.8)
    )
    assert (
        values["boundary_AP"]
        == pytest.approx((THRESHOLDS <= 832 / 1664).mean(), abs=1e-15)
        == pytest.approx(0.1)
    )


def car(place, size):
    ids = np.full((200, 200), 1, np.int32)
    ids[place : place + size, place : place + size] = 2
    return Panoptic.from_ids(ids, {1: 4, 2: 2})


@pytest.mark.parametrize("shape", [(1, 1), (1, 9000), (9000, 1), (3, 9000)])
def test_every_pixel_of_a_narrow_image_is_on_a_boundary(shape):
    # 2 % of the diagonal is more than half of the narrow side; a square of 361 px is not needed.
    classes = np.zeros(shape, np.uint8)
    assert on_boundary(classes, boundary_distance(*shape)).all()
    mask = np.ones((1, *shape), bool)
    assert boundaries(MaskRuns.from_bitmaps(mask)).codes() == as_codes(mask)
