import pytest
import segmentation_models_pytorch as smp
import torch
from torch.nn import functional as F

from maskmill.canonical.categories import IGNORE_INDEX
from maskmill.losses.overlap import Dice, Jaccard, Tversky


def batch(rows):
    return {"semantic": torch.tensor(rows, dtype=torch.uint8)[None]}


def logits(*probs):
    """One row of pixels, each with the given probabilities of two classes."""
    return {"semantic": torch.tensor(probs).log().T[None, :, None, :].requires_grad_()}


EVEN = (0.5, 0.5)
# Class 0 has p = 0.8 at its own pixel and 0.4 at the other: TP 0.8, FP 0.4, FN 0.2.
# Class 1: TP 0.6, FP 0.2, FN 0.4.
PAIR = [(0.8, 0.2), (0.4, 0.6)], [[0, 1]]


def test_dice_of_an_undecided_prediction_is_one_half():
    # two pixels of each class: overlap 2 x 0.5, total 4 x 0.5 + 2, Dice 2 / 4
    loss = Dice()(logits(EVEN, EVEN, EVEN, EVEN), batch([[0, 0, 1, 1]]))
    assert loss["dice"].item() == pytest.approx(0.5)


def test_dice_averages_over_the_classes_present():
    # class 0 only: overlap 0.5, total 0.5 + 1, Dice 2/3; class 1 has no pixel and is not counted
    assert Dice()(logits(EVEN), batch([[0]]))["dice"].item() == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("loss", "overlaps"),
    [
        pytest.param(Dice(), (1.6 / 2.2, 1.2 / 1.8), id="dice"),
        pytest.param(Jaccard(), (0.8 / 1.4, 0.6 / 1.2), id="jaccard"),
        pytest.param(Tversky(alpha=0.3, beta=0.7), (0.8 / 1.06, 0.6 / 0.94), id="tversky"),
    ],
)
def test_the_overlap_is_computed_from_soft_counts(loss, overlaps):
    probs, target = PAIR
    assert loss(logits(*probs), batch(target))[loss.name].item() == pytest.approx(
        1 - sum(overlaps) / 2
    )


def test_class_weights_give_a_weighted_mean_over_classes():
    probs, target = PAIR
    loss = Jaccard(class_weights=[3.0, 1.0])(logits(*probs), batch(target))
    assert loss["jaccard"].item() == pytest.approx(1 - (3 * 0.8 / 1.4 + 0.6 / 1.2) / 4)


PEERS = [
    pytest.param(Dice(), smp.losses.DiceLoss, {}, id="dice"),
    pytest.param(Jaccard(), smp.losses.JaccardLoss, {}, id="jaccard"),
    pytest.param(
        Tversky(alpha=0.3, beta=0.7),
        smp.losses.TverskyLoss,
        {"alpha": 0.3, "beta": 0.7},
        id="tversky",
    ),
]


def noise(num_classes, values):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, num_classes, 8, 8, generator=generator)
    return {"semantic": scores}, {
        "semantic": torch.tensor(values, dtype=torch.uint8)[
            torch.randint(len(values), (2, 8, 8), generator=generator)
        ]
    }


@pytest.mark.parametrize(("loss", "peer", "settings"), PEERS)
def test_with_every_class_present_it_equals_the_loss_of_the_library(loss, peer, settings):
    outputs, targets = noise(3, [0, 1, 2, IGNORE_INDEX])
    theirs = peer("multiclass", ignore_index=IGNORE_INDEX, **settings)(
        outputs["semantic"], targets["semantic"].long()
    )
    assert loss(outputs, targets)[loss.name].item() == pytest.approx(theirs.item(), rel=1e-5)


@pytest.mark.parametrize(("loss", "peer", "settings"), PEERS)
def test_absent_classes_do_not_lower_the_loss_as_they_do_in_the_library(loss, peer, settings):
    outputs, targets = noise(3, [0, 1])
    # Three more classes, of probability 0.
    padded = {"semantic": F.pad(outputs["semantic"], (0, 0, 0, 0, 0, 3), value=-1e4)}
    ours = loss(outputs, targets)[loss.name].item()
    assert loss(padded, targets)[loss.name].item() == pytest.approx(ours)
    peer_loss = peer("multiclass", **settings)
    target = targets["semantic"].long()
    theirs = peer_loss(outputs["semantic"], target).item()
    theirs_padded = peer_loss(padded["semantic"], target).item()
    assert theirs_padded == pytest.approx(theirs / 2)  # 3 of 6 classes instead of 3 of 3
