"""Every dense loss against its formula in float64, for all kinds of logits, sizes and maps."""

import numpy as np
import pytest
import torch

from maskmill.canonical.categories import IGNORE_INDEX
from maskmill.losses.auxiliary import WithAuxiliary
from maskmill.losses.boundary import Boundary
from maskmill.losses.lovasz import Lovasz
from maskmill.losses.mask_classification import MaskClassificationLoss, segments_of
from maskmill.losses.overlap import Dice, Jaccard, Tversky
from maskmill.losses.panoptic_deeplab import (
    BootstrappedCrossEntropy,
    PanopticDeepLabLoss,
    center_targets,
)
from maskmill.losses.semantic import CrossEntropy, Focal, Sum

K = 3
WEIGHTS = [1.0, 0.5, 2.0]


def log_probs(logits):
    """(P, K) float64 from logits (B, K, H, W)."""
    values = logits.double().numpy().transpose(0, 2, 3, 1).reshape(-1, logits.shape[1])
    shifted = values - values.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def labelled(logits, batch):
    """Log-probabilities (P, K), classes (P,) and instances (P,) of the labelled pixels."""
    target = batch["semantic"].numpy().reshape(-1).astype(int)
    kept = target != IGNORE_INDEX
    instance = batch["instance"].numpy().reshape(-1)[kept]
    return log_probs(logits)[kept], target[kept], instance


def true_log_probs(logits, batch):
    log_p, target, _ = labelled(logits, batch)
    return log_p[np.arange(len(target)), target], np.array(WEIGHTS)[target]


def cross_entropy(logits, batch):
    log_p, _ = true_log_probs(logits, batch)
    return -log_p.mean()


def weighted_cross_entropy(logits, batch):
    log_p, weights = true_log_probs(logits, batch)
    return -(weights * log_p).sum() / weights.sum()


def smoothed_cross_entropy(logits, batch):
    log_p, _ = true_log_probs(logits, batch)
    every_log_p, _, _ = labelled(logits, batch)
    return -(0.9 * log_p + 0.1 * every_log_p.mean(axis=1)).mean()


def hardest_cross_entropy(logits, batch):
    losses = np.sort(-true_log_probs(logits, batch)[0])
    return losses[-max(1, round(0.3 * len(losses))) :].mean()


def bootstrapped_cross_entropy(logits, batch):
    """Things of fewer than 40 px count three times; the hardest 30 %."""
    instance = batch["instance"].numpy()
    area = np.zeros(instance.shape)
    for index, ids in enumerate(instance):
        for value in np.unique(ids):
            area[index][ids == value] = (ids == value).sum()
    factors = np.where((instance > 0) & (area < 40), 3.0, 1.0).reshape(-1)
    kept = batch["semantic"].numpy().reshape(-1) != IGNORE_INDEX
    losses = np.sort(-factors[kept] * true_log_probs(logits, batch)[0])
    return losses[-max(1, round(0.3 * len(losses))) :].mean()


def focal(logits, batch):
    log_p, weights = true_log_probs(logits, batch)
    return (weights * np.expm1(log_p) ** 2 * -log_p).sum() / weights.sum()


def tversky(alpha, beta, class_weights=(1, 1, 1)):
    def loss(logits, batch):
        log_p, target, _ = labelled(logits, batch)
        probs = np.exp(log_p)
        values = []
        factors = []
        for index in np.unique(target):
            tp = probs[target == index, index].sum()
            fp = probs[target != index, index].sum()
            fn = (1 - probs[target == index, index]).sum()
            values.append(1 - tp / (tp + alpha * fp + beta * fn))
            factors.append(class_weights[index])
        return np.dot(values, factors) / sum(factors)

    return loss


def lovasz(logits, batch):
    """Algorithm 1 of the paper as a loop over the sorted pixels."""
    log_p, target, _ = labelled(logits, batch)
    losses = []
    for index in np.unique(target):
        is_class = target == index
        errors = np.where(is_class, 1 - np.exp(log_p[:, index]), np.exp(log_p[:, index]))
        loss = before = missed = extra = 0.0
        for pixel in np.argsort(-errors, kind="stable"):
            missed += is_class[pixel]
            extra += not is_class[pixel]
            jaccard = 1 - (is_class.sum() - missed) / (is_class.sum() + extra)
            loss += errors[pixel] * (jaccard - before)
            before = jaccard
        losses.append(loss)
    return np.mean(losses)


def boundary(logits, batch):
    """Probability times distance to the outline, by comparing every pair of pixels."""
    total = count = 0.0
    height, width = batch["semantic"].shape[1:]
    y, x = np.divmod(np.arange(height * width), width)
    distance = np.hypot(y[:, None] - y, x[:, None] - x)
    probs = np.exp(log_probs(logits)).reshape(len(batch["semantic"]), height * width, -1)
    for image, target in enumerate(batch["semantic"].numpy().reshape(-1, height * width)):
        known = target != IGNORE_INDEX
        present = np.unique(target[known])
        if len(present) < 2:
            continue
        count += len(present) * known.sum()
        for index in present:
            inside = target == index
            to_class = distance[:, inside].min(axis=1)
            to_others = distance[:, known & ~inside].min(axis=1)
            signed = np.where(inside, 1 - to_others, to_class) * known
            total += (probs[image, :, index] * signed).sum()
    return total / max(count, 1)


CASES = {
    "cross_entropy": (CrossEntropy(), cross_entropy),
    "weighted": (CrossEntropy(class_weights=WEIGHTS), weighted_cross_entropy),
    "smoothed": (CrossEntropy(label_smoothing=0.1), smoothed_cross_entropy),
    "hardest": (CrossEntropy(hardest=0.3), hardest_cross_entropy),
    "bootstrapped": (
        BootstrappedCrossEntropy(hardest=0.3, small_area_px=40),
        bootstrapped_cross_entropy,
    ),
    "focal": (Focal(gamma=2.0, class_weights=WEIGHTS), focal),
    "tversky": (Tversky(alpha=0.3, beta=0.7), tversky(0.3, 0.7)),
    "dice": (Dice(class_weights=WEIGHTS), tversky(0.5, 0.5, WEIGHTS)),
    "jaccard": (Jaccard(), tversky(1, 1)),
    "lovasz": (Lovasz(), lovasz),
    "boundary": (Boundary(weight=1.0), boundary),
    "sum": (Sum([CrossEntropy(), Dice()]), lambda *a: cross_entropy(*a) + tversky(0.5, 0.5)(*a)),
}
every_loss = pytest.mark.parametrize(
    ("loss", "reference"), [pytest.param(*case, id=name) for name, case in CASES.items()]
)


def example(size=(9, 11), *, scale=1.0, dtype=torch.float32, void=0.3, num_images=2):
    generator = torch.Generator().manual_seed(3)
    logits = (scale * torch.randn(num_images, K, *size, generator=generator)).to(dtype)
    semantic = torch.randint(K, (num_images, *size), generator=generator).to(torch.uint8)
    instance = torch.where(semantic == 2, 1 + torch.arange(size[1]) // 4, 0).to(torch.int32)
    is_void = torch.rand(num_images, *size, generator=generator) < void
    semantic[is_void] = IGNORE_INDEX
    instance[is_void] = -1
    return logits, {"semantic": semantic, "instance": instance}


def total(loss, logits, batch):
    return float(sum(loss({"semantic": logits}, batch).values()))


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("size", [(9, 11), (1, 1), (1, 40)], ids=str)
def test_the_value_is_that_of_the_formula(loss, reference, dtype, scale, size):
    void = 0.0 if size == (1, 1) else 0.3
    logits, batch = example(size, scale=scale, dtype=dtype, void=void)
    # 1e-5: float32, in which sums of 200 terms are exact to 1e-6.
    assert total(loss, logits, batch) == pytest.approx(reference(logits, batch), rel=1e-5, abs=1e-6)


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_does_not_change_a_bit(loss, reference, dtype):
    logits, batch = example()
    expected = total(loss, logits, batch)
    with torch.autocast("cpu", dtype=dtype):
        assert total(loss, logits, batch) == expected


@every_loss
def test_the_layout_of_the_arrays_does_not_matter(loss, reference):
    logits, batch = example()
    strided = logits.to(memory_format=torch.channels_last)
    every_other = {name: value.repeat_interleave(2, 2)[:, :, ::2] for name, value in batch.items()}
    assert not strided.is_contiguous()
    assert not every_other["semantic"].is_contiguous()
    expected = total(loss, logits, batch)
    assert total(loss, strided, every_other) == pytest.approx(expected, rel=1e-6)


@every_loss
def test_no_images_have_no_loss(loss, reference):
    assert total(loss, *example(num_images=0)) == 0


@every_loss
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_undefined_logit_of_a_labelled_pixel_gives_an_undefined_loss(loss, reference, value):
    logits, batch = example(void=0.0)
    logits[0, :, 4, 4] = value
    assert np.isnan(total(loss, logits, batch))


def test_auxiliary_logits_have_the_same_formula():
    logits, batch = example()
    outputs = {"semantic": logits, "auxiliary": 2 * logits}
    terms = WithAuxiliary(CrossEntropy(), weight=0.4)(outputs, batch)
    expected = 0.4 * cross_entropy(2 * logits, batch)
    assert float(terms["auxiliary_cross_entropy"]) == pytest.approx(expected, rel=1e-5)


def grid_of_instances(rows, columns, side=4):
    """Instances 1..N as squares, and the pixels between them."""
    numbers = np.arange(1, rows * columns + 1).reshape(rows, columns)
    padded = np.pad(np.ones((side - 1, side - 1), np.int32), ((0, 1), (0, 1)))
    return torch.from_numpy(np.kron(numbers, padded).astype(np.int32))[None]


@pytest.mark.parametrize("num_rows", [0, 1, 20])
def test_centers_and_offsets_of_0_to_400_instances(num_rows):
    instance = grid_of_instances(num_rows, num_rows) if num_rows else torch.zeros(1, 5, 7).int()
    ids = instance[0].numpy()
    heatmap = np.zeros(ids.shape)
    offset = np.zeros((2, *ids.shape))
    y, x = np.indices(ids.shape)
    for value in range(1, ids.max() + 1):
        center = np.argwhere(ids == value).mean(axis=0)
        bell = np.exp(-((y - round(center[0])) ** 2 + (x - round(center[1])) ** 2) / 2)
        near = np.maximum(abs(y - round(center[0])), abs(x - round(center[1]))) <= 3
        heatmap = np.maximum(heatmap, bell * near)
        offset += (ids == value) * (center[:, None, None] - np.stack([y, x]))
    targets = center_targets(instance, sigma_px=1.0)
    assert np.allclose(targets.heatmap[0, 0].numpy(), heatmap, atol=1e-6)
    assert np.allclose(targets.offset[0].numpy(), offset, atol=1e-6)
    batch = {"semantic": (instance > 0).to(torch.uint8), "instance": instance}
    outputs = {"semantic": torch.zeros(1, 2, *ids.shape), "center": torch.zeros(1, 1, *ids.shape)}
    outputs["offset"] = torch.zeros(1, 2, *ids.shape)
    terms = PanopticDeepLabLoss(CrossEntropy(), center_weight=1.0, offset_weight=1.0)(
        outputs, batch
    )
    expected = abs(offset).sum() / max((ids > 0).sum(), 1)
    assert float(terms["offset"]) == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_the_segments_of_400_instances_are_told_apart():
    instance = grid_of_instances(20, 20)
    segments = segments_of((instance > 0).to(torch.uint8), instance, separate_things=True)
    assert segments.classes[0].bincount().tolist() == [1, 400]
    assert len(segments.of_pixel.unique()) == 401


def query_outputs(scale, num_images=2):
    generator = torch.Generator().manual_seed(1)
    return {
        "class_logits": scale * torch.randn(num_images, 6, K + 1, generator=generator),
        "mask_logits": scale * torch.randn(num_images, 6, 9, 11, generator=generator),
    }


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_the_loss_of_queries_is_the_same_under_autocast(scale, dtype):
    loss = MaskClassificationLoss(num_points=64).eval()
    _, batch = example()
    expected = loss(query_outputs(scale), batch)
    assert all(value.isfinite() for value in expected.values())
    with torch.autocast("cpu", dtype=dtype):
        assert loss(query_outputs(scale), batch) == expected


def test_the_loss_of_queries_without_images_or_with_nan():
    loss = MaskClassificationLoss(num_points=64).eval()
    terms = loss(query_outputs(1.0, num_images=0), example(num_images=0)[1])
    assert [float(value) for value in terms.values()] == [0, 0, 0]
    terms = loss(query_outputs(float("nan")), example()[1])
    assert all(value.isnan() for value in terms.values())
