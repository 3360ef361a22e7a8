import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.panoptic import Panoptic
from maskmill.losses.mask_classification import segments_of
from maskmill.postprocess import mask_classification as module
from maskmill.postprocess.mask_classification import PanopticMasks, SemanticMasks
from strategies import CATEGORIES

GROUND, SKY, BALL, BOX, NOTHING = range(
    5
)  # class indices of CATEGORIES, whose ids are 7, 0, 21 and 3, and no object
NUCLEI = Categories([Category(5, "nucleus", True, (220, 90, 20))])


def masks(categories=CATEGORIES, **changes):
    return PanopticMasks(
        **{"threshold": 0.5, "overlap": 0.5, "min_area_px": 0, "stuff_area_px": 0} | changes,
        categories=categories,
    )


def drawn(queries, num_classes=4):
    """Outputs of one image of rows of mask pixels, 4 px each: per query a class, its probability, and a mask of characters."""
    classes, drawings = [], []
    for kind, prob, mask in queries:
        classes.append(
            [
                np.log(prob) if c == kind else np.log((1 - prob) / num_classes)
                for c in range(num_classes + 1)
            ]
        )
        drawings.append([[20.0 if character == "#" else -20.0 for character in mask]])
    return {
        "class_logits": torch.tensor([classes]).float(),
        "mask_logits": torch.tensor([drawings]),
    }


def predict(made, outputs, size=None):
    height, width = (4 * side for side in outputs["mask_logits"].shape[2:])
    (pred,) = made(outputs, [size or (height, width)])
    return pred


def columns(array):
    """One value per mask pixel: between two of them the edge is half-way."""
    return array[0, 1::4].tolist()


SCENE = [
    (BALL, 0.9, "##......"),
    (BALL, 0.8, "..##...."),
    (GROUND, 0.9, "....####"),
    (NOTHING, 0.9, "########"),
]


def test_things_are_their_queries_and_stuff_comes_after_them():
    pred = predict(masks(), drawn(SCENE))
    assert columns(pred.panoptic.ids) == [1, 1, 2, 2, 3, 3, 3, 3]
    assert pred.panoptic.category_of == {1: 21, 2: 21, 3: 7}
    assert columns(pred.semantic) == [21, 21, 21, 21, 7, 7, 7, 7]


def test_scores_are_class_probability_times_mask_probability():
    pred = predict(masks(), drawn(SCENE))
    # the masks are sure but for the two columns of pixels at their edges, where probability falls from 1 to 1/2
    assert [segment.score for segment in pred.panoptic.segments] == pytest.approx(
        [0.9, 0.8, 0.9], rel=0.01
    )


def test_queries_of_one_stuff_class_are_one_segment():
    pred = predict(
        masks(), drawn([(SKY, 0.9, "##......"), (BALL, 0.9, "..##...."), (SKY, 0.8, "....####")])
    )
    assert columns(pred.panoptic.ids) == [2, 2, 1, 1, 2, 2, 2, 2]
    assert pred.panoptic.category_of == {1: 21, 2: 0}
    assert pred.panoptic.segments[1].score == pytest.approx(
        (2 * 0.9 + 4 * 0.8) / 6, rel=0.01
    )  # by area


def test_of_two_masks_the_surer_query_has_the_pixel():
    pred = predict(masks(), drawn([(BALL, 0.7, "####...."), (BOX, 0.9, "...#####")]))
    assert columns(pred.panoptic.ids) == [1, 1, 1, 2, 2, 2, 2, 2]


def test_a_query_that_loses_most_of_its_mask_is_dropped_and_what_is_left_of_it_void():
    outputs = drawn([(BALL, 0.7, "####...."), (BOX, 0.9, ".#######")])
    assert columns(predict(masks(), outputs).panoptic.ids) == [0, 1, 1, 1, 1, 1, 1, 1]
    assert columns(predict(masks(overlap=0.2), outputs).panoptic.ids) == [1, 2, 2, 2, 2, 2, 2, 2]
    assert columns(predict(masks(), outputs).semantic)[0] == 21, (
        "every pixel has a class nevertheless"
    )


def test_queries_below_the_threshold_and_pixels_outside_every_mask_are_void():
    pred = predict(masks(threshold=0.75), drawn([(BALL, 0.7, "##......"), (BOX, 0.8, "..##....")]))
    assert columns(pred.panoptic.ids) == [0, 0, 1, 1, 0, 0, 0, 0]


def test_segments_below_their_least_area_are_void():
    assert columns(predict(masks(min_area_px=33), drawn(SCENE)).panoptic.ids) == [
        0,
        0,
        0,
        0,
        1,
        1,
        1,
        1,
    ]  # balls have 2 x 16 px
    assert columns(predict(masks(stuff_area_px=65), drawn(SCENE)).panoptic.ids) == [
        1,
        1,
        2,
        2,
        0,
        0,
        0,
        0,
    ]


def test_without_stuff_everything_but_things_is_void():
    pred = predict(masks(keep_stuff=False), drawn(SCENE))
    assert columns(pred.panoptic.ids) == [1, 1, 2, 2, 0, 0, 0, 0]
    assert columns(pred.semantic) == [21, 21, 21, 21, 7, 7, 7, 7]


def test_background_of_a_table_of_things_is_void():
    outputs = drawn([(0, 0.9, "###....."), (1, 0.9, "...#####")], num_classes=2)
    pred = predict(masks(NUCLEI, keep_stuff=False), outputs)
    assert columns(pred.panoptic.ids) == [1, 1, 1, 0, 0, 0, 0, 0]
    assert columns(pred.semantic) == [5, 5, 5, -1, -1, -1, -1, -1]


def test_an_image_without_any_segment_is_all_void():
    pred = predict(masks(), drawn([(NOTHING, 0.9, "########")]))
    assert pred.panoptic.segments == ()
    assert not pred.panoptic.ids.any()


def test_classes_are_what_queries_vote_for_with_their_masks():
    pred = predict(
        SemanticMasks(categories=CATEGORIES),
        drawn([(BALL, 0.6, "####...."), (BOX, 0.9, "..##...."), (GROUND, 0.3, "....####")]),
    )
    assert columns(pred.semantic) == [21, 21, 3, 3, 7, 7, 7, 7]
    assert pred.panoptic.category_of == {3: 21, 4: 3, 1: 7}
    # ball: 0.6 against 0.1 each of ground, sky and box; its segment is as sure as its share of the votes
    assert {s.category_id: s.score for s in pred.panoptic.segments}[21] == pytest.approx(
        0.6 / 0.9, rel=0.06
    )  # less at its edge


def test_an_edge_lies_where_the_masks_logits_cross_between_mask_pixels():
    outputs = drawn([(BALL, 0.9, "#."), (GROUND, 0.9, ".#")])
    outputs["mask_logits"] = torch.tensor([[[[8.0, -2.0]], [[-8.0, 2.0]]]])
    pred = predict(SemanticMasks(categories=CATEGORIES), outputs)
    # Both are 0 at 8/10 of the way from the middle of the first mask pixel, x = 1.5, to that of the second, x = 5.5: at x = 4.7.
    # Votes of mask pixels, 0.9997 against 0.119, would cross half-way at x = 3.5.
    assert pred.semantic[0].tolist() == [21, 21, 21, 21, 21, 7, 7, 7]


def random_outputs(seed, num_queries=8, size=(5, 6)):
    generator = torch.Generator().manual_seed(seed)
    return {
        "class_logits": 4 * torch.randn(1, num_queries, 5, generator=generator),
        "mask_logits": 6 * torch.randn(1, num_queries, *size, generator=generator),
    }


def slow_panoptic(outputs, size, *, threshold, overlap, min_area_px, stuff_area_px):
    """Query by query, as the inference of arXiv:2107.06278 (sec. 3.4) does it, on all masks at full size."""
    probs = outputs["class_logits"][0].softmax(dim=1)
    full = F.interpolate(
        outputs["mask_logits"], scale_factor=4, mode="bilinear", align_corners=False
    )[0, :, : size[0], : size[1]].sigmoid()
    kept = [
        q for q in range(len(probs)) if probs[q].argmax() != NOTHING and probs[q].max() > threshold
    ]
    ids, category_of, stuff_of = np.zeros(size, np.int32), {}, {}
    if not kept:
        return Panoptic.from_ids(ids, {})
    owner = torch.stack([probs[q].max() * full[q] for q in kept]).argmax(dim=0)
    number = 0
    for k, q in enumerate(kept):
        category = CATEGORIES[int(CATEGORIES.ids[int(probs[q].argmax())])]
        mask = ((owner == k) & (full[q] >= 0.5)).numpy()
        original = int((full[q] >= 0.5).sum())
        if not original or int(mask.sum()) / original < overlap:
            continue
        if category.isthing or category.id not in stuff_of:
            number += 1
            if not category.isthing:
                stuff_of[category.id] = number
            category_of[number] = category.id
        ids[mask] = number if category.isthing else stuff_of[category.id]
    for number, category_id in category_of.items():
        area = (ids == number).sum()
        if area < (min_area_px if CATEGORIES[category_id].isthing else stuff_area_px):
            ids[ids == number] = 0
    return Panoptic.from_ids(ids, category_of)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    threshold=st.sampled_from([0.0, 0.5, 0.9]),
    overlap=st.sampled_from([0.0, 0.5, 0.9]),
    min_area_px=st.sampled_from([0, 20]),
    stuff_area_px=st.sampled_from([0, 60]),
)
def test_it_decides_as_the_definition_does(seed, **values):
    outputs = random_outputs(seed)
    pred, slow = (
        predict(masks(**values), outputs, (19, 22)).panoptic,
        slow_panoptic(outputs, (19, 22), **values),
    )
    found = {(s.category_id, s.area, s.bbox) for s in pred.segments}
    assert found == {
        (s.category_id, s.area, s.bbox) for s in slow.segments
    }  # numbers differ: ours count things first
    np.testing.assert_array_equal(pred.category_map(), slow.category_map())


@pytest.mark.parametrize("seed", range(5))
def test_masks_that_cross_blocks_are_decided_as_the_definition_does(seed):
    # smooth masks over 3 x 4 blocks of 32 px, of which each mask is present in some
    coarse = random_outputs(seed, num_queries=12, size=(3, 4))
    outputs = coarse | {
        "mask_logits": F.interpolate(coarse["mask_logits"], (19, 29), mode="bilinear")
    }
    values = {"threshold": 0.3, "overlap": 0.2, "min_area_px": 10, "stuff_area_px": 10}
    pred, slow = (
        predict(masks(**values), outputs, (75, 115)).panoptic,
        slow_panoptic(outputs, (75, 115), **values),
    )
    assert len(slow.segments) > 1
    assert {(s.category_id, s.area, s.bbox) for s in pred.segments} == {
        (s.category_id, s.area, s.bbox) for s in slow.segments
    }
    np.testing.assert_array_equal(pred.category_map(), slow.category_map())


@pytest.mark.parametrize("seed", range(5))
def test_classes_are_voted_as_the_definition_does(seed):
    outputs, size = random_outputs(seed), (19, 22)
    probs = outputs["class_logits"][0].softmax(dim=1)[:, :-1]
    full = F.interpolate(
        outputs["mask_logits"], scale_factor=4, mode="bilinear", align_corners=False
    )[0, :, : size[0], : size[1]].sigmoid()
    votes = torch.einsum("qk,qhw->khw", probs, full)
    pred = predict(SemanticMasks(categories=CATEGORIES), outputs, size)
    np.testing.assert_array_equal(pred.semantic, CATEGORIES.ids[votes.argmax(dim=0).numpy()])
    share = votes.max(dim=0).values / votes.sum(dim=0)
    for segment in pred.panoptic.segments:
        assert segment.score == pytest.approx(
            share[pred.semantic == segment.category_id].mean().item(), abs=1e-5
        )  # float32 places


@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=20)
def test_the_order_of_queries_means_nothing(seed):
    outputs = random_outputs(seed)
    flipped = {name: value.flip(1) for name, value in outputs.items()}
    straight, back = predict(masks(), outputs), predict(masks(), flipped)
    np.testing.assert_array_equal(straight.panoptic.category_map(), back.panoptic.category_map())
    np.testing.assert_array_equal(straight.semantic, back.semantic)


def test_pixels_no_segment_claims_get_the_class_the_semantic_task_gives_them(monkeypatch):
    monkeypatch.setattr(module, "MAX_PROBS", 80)  # in small pieces
    outputs = random_outputs(3)
    nothing = masks(threshold=0.999999)
    pred = predict(nothing, outputs, (19, 22))
    assert not pred.panoptic.ids.any()
    assert (
        pred.semantic == predict(SemanticMasks(categories=CATEGORIES), outputs, (19, 22)).semantic
    ).all()


def test_padding_of_a_batch_changes_nothing():
    outputs = random_outputs(1)
    padded = outputs | {"mask_logits": F.pad(outputs["mask_logits"], (0, 3, 0, 2), value=5.0)}
    ours, alone = predict(masks(), padded, (16, 20)), predict(masks(), outputs, (16, 20))
    np.testing.assert_array_equal(ours.panoptic.ids, alone.panoptic.ids)


def test_the_targets_of_a_scene_are_decided_back_into_it():
    ids = np.zeros((48, 64), np.int32)
    ids[4:16, 4:24], ids[8:32, 32:44], ids[20:40, 4:20] = 1, 2, 3
    semantic = torch.from_numpy(np.array([GROUND, BALL, BOX, BALL])[ids].astype(np.uint8))[None]
    found = segments_of(semantic, torch.from_numpy(ids)[None], separate_things=True)
    of_pixel = found.of_pixel[0, 1::4, 1::4]
    sure = torch.stack([(of_pixel == number) * 40.0 - 20 for number in range(4)])
    classes = torch.full((4, 5), -9.0).scatter_(1, found.classes[0][:, None], 9.0)
    pred = predict(masks(), {"class_logits": classes[None], "mask_logits": sure[None]}).panoptic
    truth = Panoptic.from_ids(np.where(ids == 0, 4, ids), {1: 21, 2: 3, 3: 21, 4: 7})
    assert {(s.category_id, s.bbox) for s in pred.segments} == {
        (s.category_id, s.bbox) for s in truth.segments
    }
    assert (
        np.mean(pred.category_map() == truth.category_map()) > 0.99
    )  # corners are rounded by the interpolation of masks


@pytest.mark.parametrize(
    "values",
    [{"threshold": 1.0}, {"overlap": 1.5}, {"min_area_px": -1}, {"threshold": float("nan")}],
    ids=str,
)
def test_values_out_of_range_are_refused(values):
    with pytest.raises(ValueError, match=r"Expected .* but got .* mend"):
        masks(**values)


def test_production_needs_torch_and_numpy_alone():
    code = (
        "import sys, maskmill.postprocess.mask_classification;"
        "found = {'timm', 'lightning', 'torchvision', 'transformers', 'scipy', 'segmentation_models_pytorch'} & set(sys.modules);"
        "sys.exit(str(found) if found else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.gpu
def test_a_gpu_decides_alike():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    outputs = random_outputs(2)
    there = predict(masks(), {name: value.cuda() for name, value in outputs.items()})
    np.testing.assert_array_equal(
        there.panoptic.category_map(), predict(masks(), outputs).panoptic.category_map()
    )
