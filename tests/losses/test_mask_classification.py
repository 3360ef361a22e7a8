import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from maskmill.canonical.categories import IGNORE_INDEX
from maskmill.losses.assignment import match, matching_cost
from maskmill.losses.mask_classification import VOID, MaskClassificationLoss, segments_of
from maskmill.losses.points import labels_at, logits_at, uncertain_points

NO_OBJECT = 3  # of three classes
WEIGHTS = {"class": 2.0, "mask": 5.0, "dice": 5.0}


def batch():
    """An image of 32 px with stuff, three things and a void strip, and one that is all void."""
    semantic = torch.zeros(2, 32, 32, dtype=torch.uint8)
    instance = torch.zeros(2, 32, 32, dtype=torch.int32)
    semantic[0, 4:12, 4:12] = 1
    instance[0, 4:12, 4:12] = 1
    semantic[0, 20:28, 4:16] = 1
    instance[0, 20:28, 4:16] = 2
    semantic[0, 4:20, 16:24] = 2
    instance[0, 4:20, 16:24] = 3
    semantic[0, :, 28:] = IGNORE_INDEX
    instance[0, :, 28:] = -1
    semantic[1] = IGNORE_INDEX
    instance[1] = -1
    return {"semantic": semantic, "instance": instance}


def perfect(segments, num_queries=6, num_classes=3, stride=4, logit=30.0):
    """Outputs whose first queries are the segments, in order."""
    of_pixel = segments.of_pixel[:, ::stride, ::stride]
    masks = torch.full((len(of_pixel), num_queries, *of_pixel.shape[1:]), -logit)
    classes = torch.full((len(of_pixel), num_queries, num_classes + 1), -logit)
    classes[..., num_classes] = logit
    for image, class_indices in enumerate(segments.classes.tolist()):
        for segment, class_index in enumerate(class_indices):
            if class_index >= 0:
                masks[image, segment][of_pixel[image] == segment] = logit
                classes[image, segment] = -logit
                classes[image, segment, class_index] = logit
    return {"class_logits": classes, "mask_logits": masks}


def noise(seed=0, num_queries=6, size=8):
    generator = torch.Generator().manual_seed(seed)
    return {
        "class_logits": torch.randn(2, num_queries, 4, generator=generator).requires_grad_(),
        "mask_logits": torch.randn(
            2, num_queries, size, size, generator=generator
        ).requires_grad_(),
    }


def test_segments_are_the_things_and_the_classes_of_the_rest():
    segments = segments_of(**batch(), separate_things=True)
    assert segments.classes.tolist() == [[0, 1, 1, 2], [-1] * 4]  # stuff first, then things by id
    assert segments.of_pixel[0, 5, 5] == 1
    assert segments.of_pixel[0, 21, 5] == 2
    assert segments.of_pixel[0, 0, 0] == 0
    assert (segments.of_pixel[0, :, 28:] == VOID).all()
    assert (segments.of_pixel[1] == VOID).all()


def test_things_of_a_class_are_one_segment_unless_they_are_separated():
    segments = segments_of(**batch(), separate_things=False)
    assert segments.classes.tolist() == [[0, 1, 2], [-1] * 3]
    assert segments.of_pixel[0, 5, 5] == segments.of_pixel[0, 21, 5] == 1


def test_a_pixel_of_an_unknown_thing_belongs_to_its_class_mask_but_to_no_thing_mask():
    labels = batch()
    labels["instance"][0, 4:12, 4:12] = -1
    assert (segments_of(**labels, separate_things=True).of_pixel[0, 4:12, 4:12] == VOID).all()
    assert (segments_of(**labels, separate_things=False).of_pixel[0, 4:12, 4:12] == 1).all()


def test_points_read_the_pixel_that_contains_them():
    maps = torch.arange(12).view(1, 3, 4)
    points = torch.tensor([[[0.0, 0.0], [0.99, 0.0], [0.26, 0.5], [1.0, 1.0]]])  # x, y
    assert labels_at(maps, torch.tensor([0]), points).tolist() == [[0, 3, 5, 11]]
    # The middle of pixel 5, and half-way from it to pixel 6.
    middle = logits_at(maps[None].float(), torch.tensor([[[0.375, 0.5], [0.5, 0.5]]]))
    assert middle.flatten().tolist() == pytest.approx([5, 5.5])


def test_points_are_taken_where_a_mask_is_uncertain_but_not_in_void():
    logits = torch.full((1, 16, 16), 9.0)
    # Uncertain in two strips, of which the second is void.
    logits[0, :, 4:8] = 0.0
    logits[0, :, 12:] = 0.0
    maps = torch.zeros(1, 16, 16, dtype=torch.long)
    maps[0, :, 11:] = VOID
    points = uncertain_points(
        logits,
        maps,
        torch.tensor([0]),
        num=400,
        void=VOID,
        generator=torch.Generator().manual_seed(0),
    )
    important = points[0, :300]
    assert points.shape == (1, 400, 2)
    # Columns 4..8 of 16, and their bilinear neighbours.
    assert ((important[:, 0] > 3 / 16) & (important[:, 0] < 9 / 16)).all()
    assert points[0, 300:, 0].max() > 0.9, "the other points are uniform"


def slow_cost(outputs, inside, counted, classes):
    """The definition in arXiv:2112.01527, query by query and segment by segment."""
    cost = torch.zeros(*outputs["class_logits"].shape[:2], classes.shape[1])
    for b, q, n in np.ndindex(*cost.shape):
        here = counted[b]
        logits = outputs["mask_logits"][b, q][here]
        target = inside[b, n][here]
        prob = logits.sigmoid()
        dice = 1 - (2 * (prob * target).sum() + 1) / (prob.sum() + target.sum() + 1)
        likely = outputs["class_logits"][b, q].softmax(0)[max(classes[b, n].item(), 0)]
        cost[b, q, n] = (
            5 * F.binary_cross_entropy_with_logits(logits, target) + 5 * dice - 2 * likely
        )
    return cost


def random_points(seed, num_queries=4, num_segments=3, num_points=50):
    generator = torch.Generator().manual_seed(seed)
    outputs = {
        "class_logits": torch.randn(2, num_queries, 4, generator=generator),
        "mask_logits": 3 * torch.randn(2, num_queries, num_points, generator=generator),
    }
    inside = (torch.rand(2, num_segments, num_points, generator=generator) > 0.6).float()
    counted = torch.rand(2, num_points, generator=generator) > 0.2
    return (
        outputs,
        inside * counted[:, None],
        counted,
        torch.randint(0, 3, (2, num_segments), generator=generator),
    )


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_costs_equal_the_definition(seed):
    outputs, inside, counted, classes = random_points(seed)
    ours = matching_cost(
        outputs["class_logits"], outputs["mask_logits"], inside, counted, classes, WEIGHTS
    )
    torch.testing.assert_close(
        ours, slow_cost(outputs, inside, counted, classes), rtol=1e-4, atol=1e-4
    )


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_no_other_assignment_has_a_lower_cost(seed):
    outputs, inside, counted, classes = random_points(seed)
    cost = slow_cost(outputs, inside, counted, classes)
    image, query, segment = match(
        outputs["class_logits"], outputs["mask_logits"], inside, counted, classes, WEIGHTS
    )
    for b in range(2):
        ours = cost[b, query[image == b], segment[image == b]].sum().item()
        best = min(
            cost[b, list(chosen), range(3)].sum().item()
            for chosen in itertools.permutations(range(4), 3)
        )
        assert ours == pytest.approx(best, abs=1e-4)


def test_segments_in_excess_of_the_queries_are_not_matched():
    outputs, inside, counted, classes = random_points(0, num_queries=2)
    image, query, segment = match(
        outputs["class_logits"], outputs["mask_logits"], inside, counted, classes, WEIGHTS
    )
    assert image.tolist() == [0, 0, 1, 1]
    assert sorted(query[:2].tolist()) == [0, 1]
    assert len(set(segment[:2].tolist())) == 2


def test_outputs_that_are_not_finite_are_still_matched():
    outputs, inside, counted, classes = random_points(0)
    outputs["mask_logits"][0, 0, 0] = torch.nan
    image, _, _ = match(
        outputs["class_logits"], outputs["mask_logits"], inside, counted, classes, WEIGHTS
    )
    assert len(image) == 6


def test_perfect_outputs_have_almost_zero_loss_in_any_order_of_queries():
    segments = segments_of(**batch(), separate_things=True)
    outputs = perfect(segments)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
    for made in (outputs, {name: value[:, order] for name, value in outputs.items()}):
        terms = MaskClassificationLoss(num_points=500).eval()(made, batch())
        assert terms["class"].item() == pytest.approx(0, abs=1e-6)
        # Masks have a quarter of the size: points near an edge are between inside and outside.
        assert terms["dice"].item() < 5 * 0.25


def test_undecided_outputs_have_the_loss_of_the_definition():
    outputs = {"class_logits": torch.zeros(2, 6, 4), "mask_logits": torch.zeros(2, 6, 8, 8)}
    terms = MaskClassificationLoss(num_points=1000).eval()(outputs, batch())
    # For every query, with or without a segment.
    assert terms["class"].item() == pytest.approx(2 * math.log(4), rel=1e-5)
    assert terms["mask"].item() == pytest.approx(5 * math.log(2), rel=1e-5)


def test_queries_without_a_segment_have_a_weight_of_one_tenth():
    segments = segments_of(**batch(), separate_things=True)
    outputs = perfect(segments)
    # A sixth query predicts a class although it has no segment.
    outputs["class_logits"][0, 5] = torch.tensor([30.0, -30, -30, -30])
    terms = MaskClassificationLoss(num_points=100).eval()(outputs, batch())
    # In the first image, four queries are matched and two are not.
    assert terms["class"].item() == pytest.approx(2 * 0.1 * 60 / (4 + 2 * 0.1), rel=1e-4)


def test_void_has_no_gradient():
    outputs = noise(size=16)
    labels = batch()
    labels["semantic"][0, :, 16:] = IGNORE_INDEX
    labels["instance"][0, :, 16:] = -1
    sum(MaskClassificationLoss(num_points=2000)(outputs, labels).values()).backward()
    gradient = outputs["mask_logits"].grad
    assert gradient[0, :, :, :8].any()
    # Column 8, next to the edge, is interpolated at points before the edge.
    assert not gradient[0, :, :, 9:].any()
    assert not gradient[1].any()
    assert not outputs["class_logits"].grad[1].any(), (
        "an image without labels is no evidence that it has no objects"
    )


@pytest.mark.parametrize("separate", [True, False])
def test_a_batch_without_labels_gives_zero_and_no_gradient(separate):
    outputs = noise()
    labels = {name: value[1:].expand(2, -1, -1) for name, value in batch().items()}
    terms = MaskClassificationLoss(num_points=50, separate_things=separate)(outputs, labels)
    sum(terms.values()).backward()
    assert [term.item() for term in terms.values()] == [0, 0, 0]
    assert not any(value.grad.any() for value in outputs.values())


def test_inner_layers_are_matched_separately_and_their_terms_are_added():
    outputs = noise()
    inner = {}
    for name, value in outputs.items():  # the same masks in another order of queries
        inner[f"aux_{name}"] = value.flip(1)[None].repeat(2, *[1] * value.ndim)
    loss = MaskClassificationLoss(num_points=4000).eval()
    alone = loss(outputs, batch())
    deep = loss(outputs | inner, batch())
    assert deep.keys() == {"class", "mask", "dice", "auxiliary"}
    assert deep["class"].item() == pytest.approx(alone["class"].item(), rel=0.05)
    # Other points are drawn, and near ties are matched differently.
    assert deep["auxiliary"].item() == pytest.approx(2 * sum(alone.values()).item(), rel=0.1)


def test_evaluation_does_not_depend_on_earlier_random_draws():
    outputs = noise()
    loss = MaskClassificationLoss(num_points=50).eval()
    first = loss(outputs, batch())
    torch.rand(10)
    assert first == loss(outputs, batch())


def test_half_precision_outputs_are_summed_in_float32():
    half = {name: value.detach().bfloat16() for name, value in noise().items()}
    loss = MaskClassificationLoss(num_points=50).eval()
    assert loss(half, batch()) == loss(
        {name: value.float() for name, value in half.items()}, batch()
    )
