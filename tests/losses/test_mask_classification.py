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
    """Two images of 32 px: stuff 0, things of class 1 and 2, a void strip; the second image all void."""
    semantic, instance = (
        torch.zeros(2, 32, 32, dtype=torch.uint8),
        torch.zeros(2, 32, 32, dtype=torch.int32),
    )
    semantic[0, 4:12, 4:12], instance[0, 4:12, 4:12] = 1, 1
    semantic[0, 20:28, 4:16], instance[0, 20:28, 4:16] = 1, 2
    semantic[0, 4:20, 16:24], instance[0, 4:20, 16:24] = 2, 3
    semantic[0, :, 28:], instance[0, :, 28:] = IGNORE_INDEX, -1
    semantic[1], instance[1] = IGNORE_INDEX, -1
    return {"semantic": semantic, "instance": instance}


def perfect(found, num_queries=6, num_classes=3, stride=4, sure=30.0):
    """Outputs whose first queries are the segments, in order."""
    of_pixel = found.of_pixel[:, ::stride, ::stride]
    masks = torch.full((len(of_pixel), num_queries, *of_pixel.shape[1:]), -sure)
    classes = torch.full((len(of_pixel), num_queries, num_classes + 1), -sure)
    classes[..., num_classes] = sure
    for image, kinds in enumerate(found.classes.tolist()):
        for number, kind in enumerate(kinds):
            if kind >= 0:
                masks[image, number][of_pixel[image] == number] = sure
                classes[image, number] = torch.where(
                    torch.arange(num_classes + 1) == kind, sure, -sure
                )
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
    found = segments_of(**batch(), separate_things=True)
    assert found.classes.tolist() == [[0, 1, 1, 2], [-1] * 4]  # by thing number, stuff (0) first
    assert found.of_pixel[0, 5, 5] == 1
    assert found.of_pixel[0, 21, 5] == 2
    assert found.of_pixel[0, 0, 0] == 0
    assert (found.of_pixel[0, :, 28:] == VOID).all()
    assert (found.of_pixel[1] == VOID).all()


def test_things_of_a_class_are_one_segment_where_they_are_not_to_be_told_apart():
    found = segments_of(**batch(), separate_things=False)
    assert found.classes.tolist() == [[0, 1, 2], [-1] * 3]
    assert found.of_pixel[0, 5, 5] == found.of_pixel[0, 21, 5] == 1


def test_a_pixel_of_known_class_and_unknown_thing_teaches_a_class_mask_and_no_thing_mask():
    labels = batch()
    labels["instance"][0, 4:12, 4:12] = -1
    assert (segments_of(**labels, separate_things=True).of_pixel[0, 4:12, 4:12] == VOID).all()
    assert (segments_of(**labels, separate_things=False).of_pixel[0, 4:12, 4:12] == 1).all()


def test_points_are_in_the_pixel_they_lie_in():
    maps = torch.arange(12).view(1, 3, 4)
    points = torch.tensor([[[0.0, 0.0], [0.99, 0.0], [0.26, 0.5], [1.0, 1.0]]])  # x, y
    assert labels_at(maps, torch.tensor([0]), points).tolist() == [[0, 3, 5, 11]]
    middle = logits_at(
        maps[None].float(), torch.tensor([[[0.375, 0.5], [0.5, 0.5]]])
    )  # the middle of pixel 5, and half-way to 6
    assert middle.flatten().tolist() == pytest.approx([5, 5.5])


def test_points_are_taken_where_a_mask_is_uncertain_and_not_where_nothing_is_known():
    logits = torch.full((1, 16, 16), 9.0)
    logits[0, :, 4:8], logits[0, :, 12:] = (
        0.0,
        0.0,
    )  # uncertain in two strips, of which the second is void
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
    assert (
        (important[:, 0] > 3 / 16) & (important[:, 0] < 9 / 16)
    ).all()  # 4..8 of 16 pixels, and bilinear neighbours
    assert points[0, 300:, 0].max() > 0.9, "the rest is anywhere"


def slow_cost(outputs, inside, counted, classes):
    """Query by query and segment by segment, as arXiv:2112.01527 says it."""
    cost = torch.zeros(*outputs["class_logits"].shape[:2], classes.shape[1])
    for b, q, n in np.ndindex(*cost.shape):
        here = counted[b]
        logits, target = outputs["mask_logits"][b, q][here], inside[b, n][here]
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
def test_costs_are_those_of_the_definition(seed):
    outputs, inside, counted, classes = random_points(seed)
    ours = matching_cost(
        outputs["class_logits"], outputs["mask_logits"], inside, counted, classes, WEIGHTS
    )
    torch.testing.assert_close(
        ours, slow_cost(outputs, inside, counted, classes), rtol=1e-4, atol=1e-4
    )


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_no_other_assignment_costs_less(seed):
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


def test_segments_beyond_the_queries_stay_without_one():
    outputs, inside, counted, classes = random_points(0, num_queries=2)
    image, query, segment = match(
        outputs["class_logits"], outputs["mask_logits"], inside, counted, classes, WEIGHTS
    )
    assert image.tolist() == [0, 0, 1, 1]
    assert sorted(query[:2].tolist()) == [0, 1]
    assert len(set(segment[:2].tolist())) == 2


def test_outputs_that_are_not_finite_are_matched_nevertheless():
    outputs, inside, counted, classes = random_points(0)
    outputs["mask_logits"][0, 0, 0] = torch.nan
    assert (
        len(
            match(
                outputs["class_logits"], outputs["mask_logits"], inside, counted, classes, WEIGHTS
            )[0]
        )
        == 6
    )


def test_perfect_outputs_cost_nothing_wherever_their_queries_stand():
    found = segments_of(**batch(), separate_things=True)
    outputs = perfect(found)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
    for made in (outputs, {name: value[:, order] for name, value in outputs.items()}):
        terms = MaskClassificationLoss(num_points=500).eval()(made, batch())
        assert terms["class"].item() == pytest.approx(0, abs=1e-6)
        # masks at a quarter of the size: a point within half a mask pixel of an edge lies between inside and outside
        assert terms["dice"].item() < 5 * 0.25


def test_undecided_outputs_cost_what_the_definition_says():
    outputs = {"class_logits": torch.zeros(2, 6, 4), "mask_logits": torch.zeros(2, 6, 8, 8)}
    terms = MaskClassificationLoss(num_points=1000).eval()(outputs, batch())
    assert terms["class"].item() == pytest.approx(
        2 * math.log(4), rel=1e-5
    )  # every query, with or without a segment
    assert terms["mask"].item() == pytest.approx(5 * math.log(2), rel=1e-5)


def test_queries_without_a_segment_count_a_tenth():
    found = segments_of(**batch(), separate_things=True)
    outputs = perfect(found)
    outputs["class_logits"][0, 5] = torch.tensor(
        [30.0, -30, -30, -30]
    )  # a sixth query sees a class where there is no segment
    terms = MaskClassificationLoss(num_points=100).eval()(outputs, batch())
    assert terms["class"].item() == pytest.approx(
        2 * 0.1 * 60 / (4 + 2 * 0.1), rel=1e-4
    )  # four matched, two not, of the first image


def test_void_teaches_nothing():
    outputs, labels = noise(size=16), batch()
    labels["semantic"][0, :, 16:], labels["instance"][0, :, 16:] = IGNORE_INDEX, -1
    sum(MaskClassificationLoss(num_points=2000)(outputs, labels).values()).backward()
    gradient = outputs["mask_logits"].grad
    assert gradient[0, :, :, :8].any()
    assert not gradient[
        0, :, :, 9:
    ].any()  # column 8 lies half a pixel from the edge and is averaged into points before it
    assert not gradient[1].any()
    assert not outputs["class_logits"].grad[1].any(), (
        "an image without labels does not say that there is nothing"
    )


@pytest.mark.parametrize("separate", [True, False])
def test_a_batch_without_labels_gives_zero_and_no_gradient(separate):
    outputs, labels = noise(), batch()
    labels = {name: value[1:].expand(2, -1, -1) for name, value in labels.items()}
    terms = MaskClassificationLoss(num_points=50, separate_things=separate)(outputs, labels)
    sum(terms.values()).backward()
    assert [term.item() for term in terms.values()] == [0, 0, 0]
    assert not any(value.grad.any() for value in outputs.values())


def test_inner_layers_are_matched_for_themselves_and_their_terms_added():
    outputs = noise()
    inner = {
        f"aux_{name}": value.flip(1)[None].repeat(2, *[1] * value.ndim)
        for name, value in outputs.items()
    }  # other queries, same masks
    loss = MaskClassificationLoss(num_points=4000).eval()
    alone, deep = loss(outputs, batch()), loss(outputs | inner, batch())
    assert deep.keys() == {"class", "mask", "dice", "auxiliary"}
    assert deep["class"].item() == pytest.approx(alone["class"].item(), rel=0.05)
    assert deep["auxiliary"].item() == pytest.approx(
        2 * sum(alone.values()).item(), rel=0.1
    )  # other points, near ties matched otherwise


def test_evaluation_does_not_depend_on_what_was_drawn_before():
    outputs, loss = noise(), MaskClassificationLoss(num_points=50).eval()
    first = loss(outputs, batch())
    torch.rand(10)
    assert first == loss(outputs, batch())


def test_half_precision_outputs_are_summed_in_full():
    half = {name: value.detach().bfloat16() for name, value in noise().items()}
    loss = MaskClassificationLoss(num_points=50).eval()
    assert loss(half, batch()) == loss(
        {name: value.float() for name, value in half.items()}, batch()
    )
