from functools import partial

import pytest
import torch
from lightning import Callback
from omegaconf import OmegaConf

from maskmill.assembly.build import build
from maskmill.training.averaging import WeightAverage
from small_trainings import KillAt, Killed

KEY = "network.layers.0.weight"


class Weights(Callback):
    """The first kernel after every batch."""

    def __init__(self):
        self.history = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.history.append(pl_module.state_dict()[KEY].clone())


@pytest.mark.slow
def test_the_mean_covers_the_ends_of_epochs_from_the_start_epoch(train, tmp_path):
    weights = Weights()
    averaged, _ = train(tmp_path, weights, WeightAverage(decay=None, start_epoch=1))
    second_end = weights.history[9]  # five batches an epoch
    third_end = weights.history[14]
    # float32: the mean is updated epoch by epoch
    assert torch.allclose(averaged[KEY], (second_end + third_end) / 2, atol=1e-6)


def test_the_moving_average_follows_its_recursion(train, tmp_path):
    weights = Weights()
    averaged, _ = train(tmp_path, weights, WeightAverage(decay=0.7), max_epochs=1)
    expected = weights.history[0]
    for value in weights.history[1:]:
        expected = 0.7 * expected + 0.3 * value
    assert torch.allclose(averaged[KEY], expected, atol=1e-6)


def test_before_the_average_starts_the_current_weights_are_kept(train, tmp_path):
    weights = Weights()
    train(tmp_path, weights, WeightAverage(decay=0.9, start_epoch=5), max_epochs=1)
    checkpoint = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert torch.equal(checkpoint["state_dict"][KEY], weights.history[-1])


moving_average = partial(WeightAverage, decay=0.8, start_epoch=1)
mean = partial(WeightAverage, decay=None, start_epoch=0)


@pytest.mark.parametrize(
    ("average", "position"),
    [
        pytest.param(moving_average, (0, 2), id="moving-average-before-its-start"),
        pytest.param(moving_average, (1, 3), id="moving-average"),
        pytest.param(mean, (1, 3), id="mean"),
        pytest.param(mean, (2, 0), id="mean-at-the-start-of-an-epoch"),
    ],
)
@pytest.mark.slow
def test_an_average_survives_a_kill(train, uninterrupted, tmp_path, average, position):
    expected = uninterrupted(average)
    with pytest.raises(Killed):
        train(tmp_path, average(), KillAt(*position))
    weights, _ = train(tmp_path, average())
    assert all(torch.equal(value, weights[key]) for key, value in expected.weights.items())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"decay": 1.0}, r"callbacks\.decay: .* less than 1"),
        ({"decay": 0.5, "start_epoch": -1}, r"callbacks\.start_epoch: .* or equal to 0"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(values, message):
    node = {"_target_": "maskmill.training.averaging.WeightAverage", **values}
    with pytest.raises(ValueError, match=message):
        build(OmegaConf.create({"callbacks": node}).callbacks, WeightAverage)
