import numpy as np
import pytest
import torch

from maskmill.canonical.panoptic import Panoptic
from maskmill.postprocess.prediction import Prediction
from maskmill.tasks.scores import Scores
from strategies import CATEGORIES


def panoptic(category_id):
    return Panoptic.from_ids(np.ones((2, 2), np.int32), {1: category_id})


def prediction(category_id):
    return Prediction(np.full((2, 2), category_id, np.int32), panoptic(category_id))


def test_repeats_that_keep_processes_in_step_do_not_count():
    scores = Scores(CATEGORIES, segments=True)
    batch = {"panoptic": [panoptic(21), panoptic(21)], "valid": [True, False]}
    scores.update(
        [torch.tensor(1.0), torch.tensor(7.0)], [prediction(21), prediction(3)], batch
    )  # the wrong one is the repeat
    values = scores.compute()
    assert (
        values["val/mIoU"] == values["val/PQ"] == values["val/PQ/thing"] == values["val/loss"] == 1
    )


def test_the_loss_is_the_mean_over_images_in_any_order():
    losses = torch.rand(7, generator=torch.Generator().manual_seed(0))
    found = []
    for order in (range(7), (6, 2, 0, 5, 1, 3, 4)):
        scores = Scores(CATEGORIES, segments=False)
        for place in order:
            scores.update(
                losses[place : place + 1],
                [prediction(7)],
                {"panoptic": [panoptic(7)], "valid": [True]},
            )
        found.append(scores.compute()["val/loss"].item())
    assert found[0] == found[1] == pytest.approx(losses.mean().item())


def test_a_loss_that_is_no_number_is_seen():
    scores = Scores(CATEGORIES, segments=False)
    batch = {"panoptic": [panoptic(7)] * 2, "valid": [True, True]}
    scores.update([torch.tensor(1.0), torch.tensor(float("nan"))], [prediction(7)] * 2, batch)
    assert scores.compute()["val/loss"].isnan()


def test_a_batch_of_repeats_alone_is_no_batch():
    scores = Scores(CATEGORIES, segments=True)
    scores.update(
        [torch.tensor(1.0)], [prediction(7)], {"panoptic": [panoptic(7)], "valid": [True]}
    )
    scores.update(
        [torch.tensor(9.0)], [prediction(3)], {"panoptic": [panoptic(7)], "valid": [False]}
    )
    values = scores.compute()
    assert (values["val/loss"], values["val/mIoU"]) == (1, 1)


def test_an_epoch_starts_anew():
    scores = Scores(CATEGORIES, segments=True)
    scores.update(
        [torch.tensor(1.0)], [prediction(3)], {"panoptic": [panoptic(21)], "valid": [True]}
    )
    assert scores.compute()["val/PQ"] == 0
    scores.update(
        [torch.tensor(1.0)], [prediction(21)], {"panoptic": [panoptic(21)], "valid": [True]}
    )
    assert scores.compute()["val/PQ"] == 1


def test_classes_that_do_not_occur_have_no_value():
    scores = Scores(CATEGORIES, segments=True)
    scores.update(
        [torch.tensor(1.0)], [prediction(7)], {"panoptic": [panoptic(7)], "valid": [True]}
    )
    values = scores.compute()
    assert values["val/IoU/ground"] == 1
    assert "val/IoU/ball" not in values
    assert "val/PQ/thing" not in values
