import pytest
import torch
from lightning import Callback

from maskmill.training.averaging import WeightAverage
from small_trainings import KillAt, Killed

KEY = "network.layers.0.weight"


class Weights(Callback):
    """The first kernel after every batch."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append(pl_module.state_dict()[KEY].clone())


def test_the_plain_mean_is_that_of_the_ends_of_epochs_from_the_start_on(train, tmp_path):
    weights = Weights()
    got, _ = train(tmp_path, weights, WeightAverage(decay=None, start_epoch=1))
    ends = [weights.seen[4], weights.seen[9], weights.seen[14]]  # five batches an epoch
    # float32: the mean is made by increments
    assert torch.allclose(got[KEY], (ends[1] + ends[2]) / 2, atol=1e-6)


def test_the_moving_average_follows_its_recursion(train, tmp_path):
    weights = Weights()
    got, _ = train(tmp_path, weights, WeightAverage(decay=0.7), max_epochs=1)
    expected = weights.seen[0]
    for value in weights.seen[1:]:
        expected = 0.7 * expected + 0.3 * value
    assert torch.allclose(got[KEY], expected, atol=1e-6)


def test_before_it_starts_the_weights_of_the_training_are_scored_and_kept(train, tmp_path):
    weights = Weights()
    train(tmp_path, weights, WeightAverage(decay=0.9, start_epoch=5), max_epochs=1)
    assert torch.equal(
        torch.load(tmp_path / "best.ckpt", weights_only=True)["state_dict"][KEY], weights.seen[-1]
    )


@pytest.mark.parametrize(
    "average", [{"decay": 0.8, "start_epoch": 1}, {"decay": None, "start_epoch": 0}], ids=str
)
@pytest.mark.parametrize("place", [(0, 2), (1, 3), (2, 0)], ids=str)
@pytest.mark.slow
def test_an_average_survives_a_kill(train, tmp_path, average, place):
    expected, _ = train(tmp_path / "whole", WeightAverage(**average))
    with pytest.raises(Killed):
        train(tmp_path / "killed", WeightAverage(**average), KillAt(*place))
    got, _ = train(tmp_path / "killed", WeightAverage(**average))
    assert all(torch.equal(expected[key], got[key]) for key in expected)


@pytest.mark.parametrize("values", [{"decay": 1.0}, {"decay": 0.5, "start_epoch": -1}], ids=str)
def test_values_out_of_range_are_refused(values):
    with pytest.raises(ValueError, match="mend callbacks"):
        WeightAverage(**values)
