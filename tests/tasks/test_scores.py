import numpy as np
import pytest
import torch

from maskmill.canonical.panoptic import Panoptic
from maskmill.postprocess.prediction import Prediction
from maskmill.tasks.scores import Scores, logged_scores
from strategies import CATEGORIES

GROUND, BALL, BOX = 7, 21, 3  # category ids


def panoptic(category_id):
    return Panoptic.from_ids(np.ones((2, 2), np.int32), {1: category_id})


def prediction(category_id):
    semantic = np.full((2, 2), category_id, np.int32)
    return Prediction(semantic, panoptic(category_id), np.ones((2, 2), np.float32))


def add(scores, *, loss, pred, target, valid=True):
    """Add a batch of one image, which is of one category as a whole."""
    batch = {"panoptic": [panoptic(target)], "valid": [valid]}
    scores.update([torch.tensor(loss)], [prediction(pred)], batch)


def test_invalid_images_of_a_batch_do_not_count():
    scores = Scores(CATEGORIES, segments=True)
    batch = {"panoptic": [panoptic(BALL), panoptic(BALL)], "valid": [True, False]}
    losses = [torch.tensor(1.0), torch.tensor(7.0)]
    scores.update(losses, [prediction(BALL), prediction(BOX)], batch)  # the invalid one is wrong
    values = scores.compute()
    for key in ("val/mIoU", "val/PQ", "val/PQ/thing", "val/loss"):
        assert values[key] == 1


def test_the_loss_is_the_mean_over_images_in_any_order():
    losses = torch.rand(7, generator=torch.Generator().manual_seed(0)).tolist()
    means = []
    for order in (range(7), (6, 2, 0, 5, 1, 3, 4)):
        scores = Scores(CATEGORIES, segments=False)
        for index in order:
            add(scores, loss=losses[index], pred=GROUND, target=GROUND)
        means.append(scores.compute()["val/loss"].item())
    assert means[0] == means[1] == pytest.approx(np.mean(losses))


def test_a_nan_loss_is_reported():
    scores = Scores(CATEGORIES, segments=False)
    add(scores, loss=1.0, pred=GROUND, target=GROUND)
    add(scores, loss=float("nan"), pred=GROUND, target=GROUND)
    assert scores.compute()["val/loss"].isnan()


def test_a_batch_of_invalid_images_alone_does_not_count():
    scores = Scores(CATEGORIES, segments=True)
    add(scores, loss=1.0, pred=GROUND, target=GROUND)
    add(scores, loss=9.0, pred=BOX, target=GROUND, valid=False)
    values = scores.compute()
    assert (values["val/loss"], values["val/mIoU"]) == (1, 1)


def test_compute_resets_the_scores():
    scores = Scores(CATEGORIES, segments=True)
    add(scores, loss=1.0, pred=BOX, target=BALL)
    assert scores.compute()["val/PQ"] == 0
    add(scores, loss=1.0, pred=BALL, target=BALL)
    assert scores.compute()["val/PQ"] == 1


def test_absent_classes_have_no_score():
    scores = Scores(CATEGORIES, segments=True)
    add(scores, loss=1.0, pred=GROUND, target=GROUND)
    values = scores.compute()
    assert values["val/IoU/ground"] == 1
    assert "val/IoU/ball" not in values
    assert "val/PQ/thing" not in values


@pytest.mark.parametrize(
    ("num_classes", "num_scored", "num_curves"),
    [
        (20, 20, 24),
        (21, 21, 4),
        (21, 3, 4),  # as in the epochs in which all 21 have a score
        (20, 3, 7),
    ],
)
def test_the_deciding_score_becomes_curves_of_its_classes_if_they_are_few(
    num_classes, num_scored, num_curves
):
    names = ["val/mIoU", "val/fwIoU", "val/PQ/lost/missed", "val/PQ/thing", "val/PQ", "val/loss"]
    names += [f"val/{metric}/{number}" for metric in ("PQ", "IoU") for number in range(num_scored)]
    logged = logged_scores(dict.fromkeys(names, torch.tensor(0.5)), "val/PQ", num_classes)
    assert list(logged)[:4] == ["val/PQ", "val/loss", "val/PQ/thing", "val/mIoU"]
    assert len(logged) == num_curves
