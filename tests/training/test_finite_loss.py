import json
import math

import pytest
import torch
from lightning import Callback

from maskmill.training.finite_loss import FiniteLoss, StepLoss


class BreakAt(Callback):
    """Makes a weight infinite before a batch."""

    def __init__(self, epoch, batch):
        self.position = (epoch, batch)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == self.position:
            with torch.no_grad():
                pl_module.network.layers[4].weight.fill_(math.inf)


def test_a_nan_loss_stops_the_training_and_names_its_images(train, tmp_path):
    message = r"finite loss, but got nan in batch 2 of epoch 2.*\.png.*lower optimizer\.lr"
    with pytest.raises(ValueError, match=message):
        train(tmp_path, FiniteLoss(folder=tmp_path), BreakAt(1, 2))
    report = json.loads((tmp_path / "bad_batch.json").read_text())
    assert (report["epoch"], report["batch"], report["loss"]) == (1, 2, "nan")
    assert len(report["images"]) == 2
    assert all(name.endswith(".png") for name in report["images"])
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 7  # the previous step
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())


class RareCheck(FiniteLoss):
    """Checks as on a GPU, whose steps must not wait."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self._unchecked.append(StepLoss(batch_idx, outputs["loss"], batch["index"]))


def test_no_checkpoint_is_written_after_an_unchecked_bad_loss(train, tmp_path):
    with pytest.raises(ValueError, match="nan in batch 1 of epoch 1"):
        train(tmp_path, RareCheck(folder=tmp_path), BreakAt(0, 1), every_n_steps=3)
    assert not (tmp_path / "last.ckpt").exists()


@pytest.mark.slow
def test_finite_losses_do_not_change_the_training(train, uninterrupted, tmp_path):
    weights, _ = train(tmp_path, FiniteLoss(folder=tmp_path))
    for key, value in uninterrupted().weights.items():
        assert torch.equal(weights[key], value)
