import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskmill.canonical.categories import IGNORE_INDEX
from maskmill.losses.lovasz import Lovasz


def test_it_weighs_errors_by_what_each_takes_from_the_iou():
    # class 0: errors 0.4 (outside: IoU 1 -> 1/2), 0.2 (inside: 1/2 -> 0), so 0.4 / 2 + 0.2 / 2; class 1: 0.4 (inside: 1 -> 0), then nothing
    outputs = {"semantic": torch.tensor([[0.8, 0.4], [0.2, 0.6]]).log()[None, :, None, :]}
    loss = Lovasz()(outputs, {"semantic": torch.tensor([[[0, 1]]], dtype=torch.uint8)})
    assert loss["lovasz"].item() == pytest.approx((0.3 + 0.4) / 2)


classes = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([0, 1, 2, IGNORE_INDEX])), min_size=1, max_size=12
)


@given(classes)
def test_for_a_sure_guess_it_is_one_minus_the_mean_iou_of_the_classes_present(pixels):
    guess, target = (torch.tensor(values) for values in zip(*pixels, strict=True))
    outputs = {"semantic": 200 * torch.nn.functional.one_hot(guess, 3).float().T[None, :, None, :]}
    loss = Lovasz()(outputs, {"semantic": target.to(torch.uint8)[None, None]})["lovasz"].item()
    labelled = target != IGNORE_INDEX
    present = target[labelled].unique().tolist()
    ious = [
        (labelled & (guess == k) & (target == k)).sum()
        / (labelled & ((guess == k) | (target == k))).sum()
        for k in present
    ]
    assert loss == pytest.approx(1 - sum(map(float, ious)) / len(ious) if ious else 0, abs=1e-6)


def test_it_is_the_loss_of_the_authors():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 4, 16, 16, generator=generator, requires_grad=True)
    target = torch.tensor([0, 1, 3, IGNORE_INDEX], dtype=torch.uint8)[
        torch.randint(4, (2, 16, 16), generator=generator)
    ]
    ours = Lovasz()({"semantic": scores}, {"semantic": target})["lovasz"]
    theirs = smp.losses.LovaszLoss("multiclass", ignore_index=IGNORE_INDEX)(scores, target.long())
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    (slope,), (their_slope,) = (
        torch.autograd.grad(ours, scores),
        torch.autograd.grad(theirs, scores),
    )
    torch.testing.assert_close(
        slope, their_slope, rtol=1e-3, atol=1e-7
    )  # theirs takes differences in float32


def test_the_library_gives_no_scalar_without_labels_which_is_why_we_have_our_own():
    target = torch.full((1, 2, 2), IGNORE_INDEX)
    assert smp.losses.LovaszLoss("multiclass", ignore_index=IGNORE_INDEX)(
        torch.zeros(1, 3, 2, 2), target
    ).shape == (0, 3)
    assert smp.losses.FocalLoss("multiclass", ignore_index=IGNORE_INDEX)(
        torch.zeros(1, 3, 2, 2), target
    ).isnan()
