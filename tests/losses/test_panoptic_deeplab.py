import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from maskmill.canonical.categories import IGNORE_INDEX
from maskmill.losses.panoptic_deeplab import (
    BootstrappedCrossEntropy,
    PanopticDeepLabLoss,
    center_targets,
    instance_areas,
)
from maskmill.losses.semantic import CrossEntropy

instance_maps = npst.arrays(
    np.int32,
    st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    elements=st.integers(-1, 4),
)


def slow_targets(instance, sigma_px):
    """The definition in sec. 3.2, pixel by pixel and instance by instance."""
    batch, height, width = instance.shape
    heatmap = np.zeros((batch, 1, height, width))
    offset = np.zeros((batch, 2, height, width))
    radius = int(3 * sigma_px + 0.5)
    for image in range(batch):
        for thing in set(instance[image][instance[image] > 0].tolist()):
            pixels = np.argwhere(instance[image] == thing)
            center = pixels.mean(axis=0)
            for y, x in pixels:
                offset[image, :, y, x] = center - (y, x)
            for y, x in np.ndindex(height, width):
                dy, dx = abs(np.array([y, x]) - np.round(center))
                if max(dy, dx) <= radius:
                    value = math.exp(-(dy**2 + dx**2) / (2 * sigma_px**2))
                    heatmap[image, 0, y, x] = max(heatmap[image, 0, y, x], value)
    return heatmap, offset


@settings(deadline=None)
@given(instance_maps, st.sampled_from([0.4, 1.0, 2.5]))
def test_targets_equal_the_definition(instance, sigma_px):
    targets = center_targets(torch.from_numpy(instance), sigma_px)
    heatmap, offset = slow_targets(instance, sigma_px)
    np.testing.assert_allclose(targets.heatmap.numpy(), heatmap, atol=1e-6)
    np.testing.assert_allclose(targets.offset.numpy(), offset, atol=1e-6)
    np.testing.assert_array_equal(targets.is_thing.numpy()[:, 0], instance > 0)
    np.testing.assert_array_equal(targets.is_known.numpy()[:, 0], instance >= 0)


def test_a_pixel_plus_its_offset_is_the_centre():
    targets = center_targets(
        torch.tensor([[[0, 1, 1, 1, -1], [0, 1, 1, 1, 0]]], dtype=torch.int32), sigma_px=1.0
    )
    assert targets.offset[0, :, 0, 1].tolist() == [0.5, 1.0]  # centre y = 0.5, x = 2
    assert targets.offset[0, :, 1, 3].tolist() == [-0.5, -1.0]
    assert targets.heatmap[0, 0, 0].tolist() == pytest.approx(
        [math.exp(-2), math.exp(-0.5), 1, math.exp(-0.5), math.exp(-2)]
    )


def test_the_centre_of_a_ring_is_its_middle_although_the_ring_has_no_pixel_there():
    ring = torch.ones(1, 5, 5, dtype=torch.int32)
    ring[0, 1:4, 1:4] = 0
    assert center_targets(ring, sigma_px=1.0).heatmap[0, 0, 2, 2] == 1


def example():
    """A batch of an image with things, stuff and void, and an image of stuff only."""
    generator = torch.Generator().manual_seed(0)
    instance = torch.zeros(2, 16, 16, dtype=torch.int32)
    instance[0, 2:7, 3:9] = 1
    instance[0, 9:14, 9:15] = 2
    instance[0, :, :2] = -1
    semantic = torch.where(instance > 0, 1, 0).to(torch.uint8)
    semantic[instance < 0] = IGNORE_INDEX
    outputs = {}
    for name, width in (("semantic", 2), ("center", 1), ("offset", 2)):
        values = torch.randn(2, width, 16, 16, generator=generator)
        outputs[name] = values.requires_grad_()
    return outputs, {"semantic": semantic, "instance": instance}


def test_terms_are_the_weighted_errors_over_the_counted_pixels():
    outputs, batch = example()
    terms = PanopticDeepLabLoss(
        CrossEntropy(), center_weight=200.0, offset_weight=0.01, sigma_px=2.0
    )(outputs, batch)
    heatmap, offset = slow_targets(batch["instance"].numpy(), 2.0)
    known = batch["instance"].numpy() >= 0
    thing = batch["instance"].numpy() > 0
    squared = ((outputs["center"].detach().numpy() - heatmap) ** 2)[:, 0][known]
    absolute = np.abs(outputs["offset"].detach().numpy() - offset).sum(axis=1)[thing]
    assert terms.keys() == {"cross_entropy", "center", "offset"}
    assert terms["center"].item() == pytest.approx(200 * squared.mean(), rel=1e-5)
    assert terms["offset"].item() == pytest.approx(0.01 * absolute.mean(), rel=1e-5)


def test_pixels_that_are_not_counted_get_no_gradient():
    outputs, batch = example()
    sum(PanopticDeepLabLoss(CrossEntropy(), sigma_px=2.0)(outputs, batch).values()).backward()
    unknown = batch["instance"] < 0
    no_thing = batch["instance"] <= 0
    assert not outputs["center"].grad[:, 0][unknown].any()
    assert not outputs["offset"].grad.transpose(0, 1)[:, no_thing].any()
    assert outputs["offset"].grad.any()
    assert outputs["center"].grad[1].any(), (
        "an image without things has no centre, which must be learned"
    )


def test_a_batch_without_labels_gives_zero_and_no_gradient():
    outputs, batch = example()
    batch = {
        "semantic": torch.full_like(batch["semantic"], IGNORE_INDEX),
        "instance": torch.full_like(batch["instance"], -1),
    }
    terms = PanopticDeepLabLoss(CrossEntropy(hardest=0.15))(outputs, batch)
    sum(terms.values()).backward()
    assert [term.item() for term in terms.values()] == [0, 0, 0]
    assert not any(value.grad.any() for value in outputs.values())


def test_perfect_outputs_have_zero_loss():
    _, batch = example()
    targets = center_targets(batch["instance"], 2.0)
    one_hot = torch.nn.functional.one_hot(batch["semantic"].long().clamp(max=1), 2)
    confident = one_hot.permute(0, 3, 1, 2) * 100.0
    terms = PanopticDeepLabLoss(CrossEntropy(), sigma_px=2.0)(
        {"semantic": confident, "center": targets.heatmap, "offset": targets.offset}, batch
    )
    assert [term.item() for term in terms.values()] == [0, 0, 0]


def test_renumbering_the_instances_changes_nothing():
    outputs, batch = example()
    loss = PanopticDeepLabLoss(CrossEntropy(), sigma_px=2.0)
    renumbered = batch["instance"].clone()
    renumbered[batch["instance"] == 1] = 70
    renumbered[batch["instance"] == 2] = 3
    assert loss(outputs, batch) == loss(outputs, batch | {"instance": renumbered})


def test_the_same_batch_gives_the_same_bits():
    outputs, batch = example()
    loss = PanopticDeepLabLoss(CrossEntropy(), sigma_px=2.0)
    assert all(loss(outputs, batch) == loss(outputs, batch) for _ in range(3))


def test_half_precision_outputs_are_summed_in_float32():
    outputs, batch = example()
    half = {name: value.detach().bfloat16() for name, value in outputs.items()}
    loss = PanopticDeepLabLoss(CrossEntropy(), sigma_px=2.0)
    terms = loss(half, batch)
    assert terms == loss({name: value.float() for name, value in half.items()}, batch)
    assert all(term.dtype == torch.float32 for term in terms.values())


@pytest.mark.gpu
def test_a_gpu_gives_the_same_targets():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    _, batch = example()
    on_cpu = center_targets(batch["instance"], 2.0)
    on_gpu = center_targets(batch["instance"].cuda(), 2.0)
    torch.testing.assert_close(on_gpu.heatmap.cpu(), on_cpu.heatmap)
    torch.testing.assert_close(on_gpu.offset.cpu(), on_cpu.offset)


def test_an_area_is_that_of_the_pixels_instance_in_its_own_image():
    instance = torch.tensor([[[1, 1, 2]], [[2, -1, 0]]], dtype=torch.int32)
    areas = instance_areas(instance)
    assert areas[0].tolist() == [[2, 2, 1]]
    assert areas[1, 0, 0] == 1


def test_small_things_have_a_larger_weight_and_only_the_hardest_pixels_are_counted():
    # cross-entropy of two equal logits is log 2; of logits (2, 0) for class 0, log(1 + e**-2)
    logits = torch.zeros(1, 2, 1, 4)
    logits[0, 0, 0, 3] = 2.0
    batch = {
        "semantic": torch.tensor([[[1, 0, 0, 0]]], dtype=torch.uint8),
        "instance": torch.tensor([[[1, 2, 2, 0]]], dtype=torch.int32),
    }
    hard, easy = math.log(2), math.log(1 + math.exp(-2))
    for hardest, expected in (
        (1.0, (3 * hard + 2 * hard + easy) / 4),
        (0.5, (3 * hard + hard) / 2),
        (0.25, 3 * hard),
    ):
        loss = BootstrappedCrossEntropy(hardest=hardest, small_area_px=2, small_weight=3.0)
        assert loss({"semantic": logits}, batch)["cross_entropy"].item() == pytest.approx(expected)


def test_the_hardest_pixels_of_a_batch_without_labels_have_zero_loss():
    outputs, batch = example()
    batch = {
        "semantic": torch.full_like(batch["semantic"], IGNORE_INDEX),
        "instance": torch.full_like(batch["instance"], -1),
    }
    assert BootstrappedCrossEntropy()(outputs, batch)["cross_entropy"].item() == 0
