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
from maskmill.postprocess.mask_classification import PanopticMasks, SemanticMasks
from maskmill.postprocess.torch_network import as_arrays
from strategies import CATEGORIES

# Class indices; the category ids of the first four are 7, 0, 21 and 3
GROUND, SKY, BALL, BOX, NO_OBJECT = range(5)
NUCLEI = Categories([Category(5, "nucleus", True, (220, 90, 20))])
SETTINGS = {"threshold": 0.5, "overlap": 0.5, "min_area_px": 0, "stuff_area_px": 0}


def outputs_of(queries, num_classes=4):
    """Outputs of one image that is one row of mask pixels high.

    Args:
        queries: class index, its probability, and a mask as a string of # and . per query.
        num_classes: K.
    """
    probs = []
    mask_logits = []
    for class_index, prob, mask in queries:
        query_probs = np.full(num_classes + 1, (1 - prob) / num_classes)
        query_probs[class_index] = prob
        probs.append(query_probs)
        mask_logits.append([[20.0 if character == "#" else -20.0 for character in mask]])
    return {
        "class_logits": torch.from_numpy(np.log([probs])).float(),
        "mask_logits": torch.tensor([mask_logits]),
    }


def apply(postprocess, outputs, size=None):
    mask_height, mask_width = outputs["mask_logits"].shape[2:]
    (pred,) = postprocess(as_arrays(outputs), [size or (4 * mask_height, 4 * mask_width)])
    return pred


def predict(outputs, size=None, categories=CATEGORIES, **changes):
    return apply(PanopticMasks(**SETTINGS | changes, categories=categories), outputs, size)


def predict_classes(outputs, size=None):
    return apply(SemanticMasks(categories=CATEGORIES), outputs, size)


def per_mask_pixel(array):
    """The value of a map near the middle of each mask pixel; edges are half-way between them."""
    return array[0, 1::4].tolist()


def segment_facts(panoptic):
    segments = panoptic.segments
    return {(segment.category_id, segment.area, segment.bbox) for segment in segments}


SCENE = [
    (BALL, 0.9, "##......"),
    (BALL, 0.8, "..##...."),
    (GROUND, 0.9, "....####"),
    (NO_OBJECT, 0.9, "########"),
]


def test_each_thing_is_a_query_and_stuff_comes_after_the_things():
    pred = predict(outputs_of(SCENE))
    assert per_mask_pixel(pred.panoptic.ids) == [1, 1, 2, 2, 3, 3, 3, 3]
    assert pred.panoptic.category_of == {1: 21, 2: 21, 3: 7}
    assert per_mask_pixel(pred.semantic) == [21, 21, 21, 21, 7, 7, 7, 7]


def test_scores_are_class_probability_times_mask_probability():
    pred = predict(outputs_of(SCENE))
    scores = [segment.score for segment in pred.panoptic.segments]
    # The mask probability is 1, except in two columns at an edge, where it falls from 1 to 1/2
    assert scores == pytest.approx([0.9, 0.8, 0.9], rel=0.01)


def test_queries_of_a_stuff_class_are_one_segment():
    left_sky = (SKY, 0.9, "##......")
    ball = (BALL, 0.9, "..##....")
    right_sky = (SKY, 0.8, "....####")
    pred = predict(outputs_of([left_sky, ball, right_sky]))
    assert per_mask_pixel(pred.panoptic.ids) == [2, 2, 1, 1, 2, 2, 2, 2]
    assert pred.panoptic.category_of == {1: 21, 2: 0}
    mean_by_area = (2 * 0.9 + 4 * 0.8) / 6
    assert pred.panoptic.segments[1].score == pytest.approx(mean_by_area, rel=0.01)


def test_a_pixel_in_two_masks_belongs_to_the_more_confident_query():
    pred = predict(outputs_of([(BALL, 0.7, "####...."), (BOX, 0.9, "...#####")]))
    assert per_mask_pixel(pred.panoptic.ids) == [1, 1, 1, 2, 2, 2, 2, 2]


LOSING_BALL = [(BALL, 0.7, "####...."), (BOX, 0.9, ".#######")]


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [(0.5, [0, 1, 1, 1, 1, 1, 1, 1]), (0.2, [1, 2, 2, 2, 2, 2, 2, 2])],
    ids=["dropped", "kept"],
)
def test_a_query_that_keeps_less_than_the_minimum_share_of_its_mask_is_dropped(overlap, expected):
    pred = predict(outputs_of(LOSING_BALL), overlap=overlap)
    assert per_mask_pixel(pred.panoptic.ids) == expected


def test_the_pixels_of_a_dropped_query_have_a_class():
    assert per_mask_pixel(predict(outputs_of(LOSING_BALL)).semantic)[0] == 21


def test_queries_below_the_threshold_and_pixels_outside_all_masks_are_void():
    outputs = outputs_of([(BALL, 0.7, "##......"), (BOX, 0.8, "..##....")])
    pred = predict(outputs, threshold=0.75)
    assert per_mask_pixel(pred.panoptic.ids) == [0, 0, 1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ({"min_area_px": 33}, [0, 0, 0, 0, 1, 1, 1, 1]),  # a ball has 2 x 16 px
        ({"stuff_area_px": 65}, [1, 1, 2, 2, 0, 0, 0, 0]),  # the ground has 4 x 16 px
    ],
    ids=str,
)
def test_segments_below_their_minimum_area_are_void(limit, expected):
    assert per_mask_pixel(predict(outputs_of(SCENE), **limit).panoptic.ids) == expected


def test_without_stuff_all_other_pixels_are_void():
    pred = predict(outputs_of(SCENE), keep_stuff=False)
    assert per_mask_pixel(pred.panoptic.ids) == [1, 1, 2, 2, 0, 0, 0, 0]
    assert per_mask_pixel(pred.semantic) == [21, 21, 21, 21, 7, 7, 7, 7]


def test_background_is_void():
    outputs = outputs_of([(0, 0.9, "###....."), (1, 0.9, "...#####")], num_classes=2)
    pred = predict(outputs, categories=NUCLEI, keep_stuff=False)
    assert per_mask_pixel(pred.panoptic.ids) == [1, 1, 1, 0, 0, 0, 0, 0]
    assert per_mask_pixel(pred.semantic) == [5, 5, 5, -1, -1, -1, -1, -1]


def test_an_image_without_segments_is_void():
    pred = predict(outputs_of([(NO_OBJECT, 0.9, "########")]))
    assert pred.panoptic.segments == ()
    assert not pred.panoptic.ids.any()


def test_queries_vote_for_the_class_of_each_pixel():
    ball = (BALL, 0.6, "####....")
    box = (BOX, 0.9, "..##....")
    ground = (GROUND, 0.3, "....####")
    pred = predict_classes(outputs_of([ball, box, ground]))
    assert per_mask_pixel(pred.semantic) == [21, 21, 3, 3, 7, 7, 7, 7]
    assert pred.panoptic.category_of == {3: 21, 4: 3, 1: 7}
    # The ball's query votes 0.6 for ball, and 0.1 each for ground, sky and box. The score is the
    # share of votes, which is smaller at the edge.
    score_of = {segment.category_id: segment.score for segment in pred.panoptic.segments}
    assert score_of[21] == pytest.approx(0.6 / 0.9, rel=0.06)


def test_an_edge_is_where_interpolated_mask_logits_are_equal():
    outputs = outputs_of([(BALL, 0.9, "#."), (GROUND, 0.9, ".#")])
    outputs["mask_logits"] = torch.tensor([[[[8.0, -2.0]], [[-8.0, 2.0]]]])
    pred = predict_classes(outputs)
    # Both are 0 at 8/10 of the way from the middle of the first mask pixel (x = 1.5) to that of
    # the second (x = 5.5), at x = 4.7. Votes of mask pixels, 0.9997 and 0.119, would be equal
    # half-way, at x = 3.5.
    assert pred.semantic[0].tolist() == [21, 21, 21, 21, 21, 7, 7, 7]


def random_outputs(seed, num_queries=8, size=(5, 6)):
    generator = torch.Generator().manual_seed(seed)
    return {
        "class_logits": 4 * torch.randn(1, num_queries, 5, generator=generator),
        "mask_logits": 6 * torch.randn(1, num_queries, *size, generator=generator),
    }


def mask_probs_of(outputs, size):
    """All masks (Q, H, W) at the size of the image."""
    logits = F.interpolate(
        outputs["mask_logits"], scale_factor=4, mode="bilinear", align_corners=False
    )
    return logits[0, :, : size[0], : size[1]].sigmoid()


def slow_panoptic(outputs, size, *, threshold, overlap, min_area_px, stuff_area_px):
    """The inference of arXiv:2107.06278 (sec. 3.4), one query at a time."""
    class_probs, classes = outputs["class_logits"][0].softmax(dim=1).max(dim=1)
    is_kept = (classes != NO_OBJECT) & (class_probs > threshold)
    kept = is_kept.nonzero().flatten().tolist()
    ids = np.zeros(size, np.int32)
    if not kept:
        return Panoptic.from_ids(ids, {})
    mask_probs = mask_probs_of(outputs, size)
    owner = (class_probs[kept, None, None] * mask_probs[kept]).argmax(dim=0)
    category_of = {}
    id_of_stuff = {}
    for index, query in enumerate(kept):
        category = CATEGORIES[int(CATEGORIES.ids[classes[query]])]
        inside = mask_probs[query] >= 0.5
        own_pixels = (inside & (owner == index)).numpy()
        mask_area = int(inside.sum())
        if mask_area == 0 or own_pixels.sum() / mask_area < overlap:
            continue
        segment_id = len(category_of) + 1
        if not category.isthing:
            segment_id = id_of_stuff.setdefault(category.id, segment_id)
        category_of[segment_id] = category.id
        ids[own_pixels] = segment_id
    for segment_id, category_id in category_of.items():
        min_area = min_area_px if CATEGORIES[category_id].isthing else stuff_area_px
        if (ids == segment_id).sum() < min_area:
            ids[ids == segment_id] = 0
    return Panoptic.from_ids(ids, category_of)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    threshold=st.sampled_from([0.0, 0.5, 0.9]),
    overlap=st.sampled_from([0.0, 0.5, 0.9]),
    min_area_px=st.sampled_from([0, 20]),
    stuff_area_px=st.sampled_from([0, 60]),
)
def test_it_finds_the_segments_of_the_definition(seed, **values):
    outputs = random_outputs(seed)
    pred = predict(outputs, (19, 22), **values).panoptic
    expected = slow_panoptic(outputs, (19, 22), **values)
    assert segment_facts(pred) == segment_facts(expected)  # ids differ: ours start with the things
    np.testing.assert_array_equal(pred.category_map(), expected.category_map())


@pytest.mark.parametrize("seed", range(5))
def test_masks_across_blocks_give_the_segments_of_the_definition(seed):
    # smooth masks over 3 x 4 blocks of 32 px; each mask is in some of the blocks
    outputs = random_outputs(seed, num_queries=12, size=(3, 4))
    outputs["mask_logits"] = F.interpolate(outputs["mask_logits"], (19, 29), mode="bilinear")
    values = {"threshold": 0.3, "overlap": 0.2, "min_area_px": 10, "stuff_area_px": 10}
    pred = predict(outputs, (75, 115), **values).panoptic
    expected = slow_panoptic(outputs, (75, 115), **values)
    assert len(expected.segments) > 1
    assert segment_facts(pred) == segment_facts(expected)
    np.testing.assert_array_equal(pred.category_map(), expected.category_map())


@pytest.mark.parametrize("seed", range(5))
def test_votes_give_the_classes_of_the_definition(seed):
    outputs = random_outputs(seed)
    size = (19, 22)
    class_probs = outputs["class_logits"][0].softmax(dim=1)[:, :-1]
    votes = torch.einsum("qk,qhw->khw", class_probs, mask_probs_of(outputs, size))
    share = votes.amax(dim=0) / votes.sum(dim=0)
    pred = predict_classes(outputs, size)
    np.testing.assert_array_equal(pred.semantic, CATEGORIES.ids[votes.argmax(dim=0).numpy()])
    for segment in pred.panoptic.segments:
        mean_share = share[pred.semantic == segment.category_id].mean().item()
        assert segment.score == pytest.approx(mean_share, abs=1e-5)  # float32 coordinates


@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=20)
def test_the_order_of_queries_does_not_change_the_result(seed):
    outputs = random_outputs(seed)
    reversed_outputs = {name: value.flip(1) for name, value in outputs.items()}
    pred = predict(outputs)
    reversed_pred = predict(reversed_outputs)
    np.testing.assert_array_equal(
        pred.panoptic.category_map(), reversed_pred.panoptic.category_map()
    )
    np.testing.assert_array_equal(pred.semantic, reversed_pred.semantic)


def test_void_pixels_have_the_class_of_the_semantic_task():
    outputs = random_outputs(3)
    pred = predict(outputs, (19, 22), threshold=0.999999)
    assert not pred.panoptic.ids.any()
    np.testing.assert_array_equal(pred.semantic, predict_classes(outputs, (19, 22)).semantic)


def test_padding_of_a_batch_does_not_change_the_result():
    outputs = random_outputs(1)
    padded_masks = F.pad(outputs["mask_logits"], (0, 3, 0, 2), value=5.0)
    padded = predict(outputs | {"mask_logits": padded_masks}, (16, 20))
    expected = predict(outputs, (16, 20))
    np.testing.assert_array_equal(padded.panoptic.ids, expected.panoptic.ids)


def test_the_training_targets_of_a_scene_give_back_its_segments():
    ids = np.zeros((48, 64), np.int32)
    ids[4:16, 4:24] = 1
    ids[8:32, 32:44] = 2
    ids[20:40, 4:20] = 3
    semantic = np.array([GROUND, BALL, BOX, BALL])[ids].astype(np.uint8)
    targets = segments_of(
        torch.from_numpy(semantic)[None], torch.from_numpy(ids)[None], separate_things=True
    )
    segment_of_mask_pixel = targets.of_pixel[0, 1::4, 1::4]
    is_inside = segment_of_mask_pixel == torch.arange(4)[:, None, None]
    class_logits = torch.full((4, 5), -9.0).scatter_(1, targets.classes[0][:, None], 9.0)
    outputs = {
        "class_logits": class_logits[None],
        "mask_logits": 40.0 * is_inside[None] - 20,
    }
    pred = predict(outputs).panoptic
    target = Panoptic.from_ids(np.where(ids == 0, 4, ids), {1: 21, 2: 3, 3: 21, 4: 7})
    pred_boxes = {(segment.category_id, segment.bbox) for segment in pred.segments}
    target_boxes = {(segment.category_id, segment.bbox) for segment in target.segments}
    assert pred_boxes == target_boxes
    # interpolation of the masks rounds corners
    assert np.mean(pred.category_map() == target.category_map()) > 0.99


@pytest.mark.parametrize(
    ("argument", "value"),
    [("threshold", 1.0), ("overlap", 1.5), ("min_area_px", -1), ("threshold", float("nan"))],
)
def test_values_out_of_range_raise_a_value_error(build_from_config, argument, value):
    values = SETTINGS | {argument: value}
    target = "mask_classification.PanopticMasks"
    with pytest.raises(ValueError, match=rf"node\.{argument}: expected .* but got {value}"):
        build_from_config(target, with_categories=True, **values)


@pytest.mark.slow
def test_post_processing_imports_no_torch():
    code = """
import sys
import maskmill.postprocess.mask_classification
imported = {"torch", "scipy"} & set(sys.modules)
sys.exit(str(imported) if imported else 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
