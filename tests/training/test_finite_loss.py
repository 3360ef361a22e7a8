import json
import math

import pytest
import torch
from lightning import Callback

from maskmill.training.finite_loss import FiniteLoss


class Broken(Callback):
    """Make a weight infinite before a batch."""

    def __init__(self, epoch, batch):
        self.where = (epoch, batch)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == self.where:
            with torch.no_grad():
                pl_module.network.layers[4].weight.fill_(math.inf)


def test_a_loss_that_is_no_number_stops_with_the_names_of_its_images(train, tmp_path):
    with pytest.raises(
        ValueError,
        match=r"finite loss, but it is nan in batch 2 of epoch 2.*\.png.*lower optimizer\.lr",
    ):
        train(tmp_path, FiniteLoss(folder=tmp_path), Broken(1, 2))
    saved = json.loads((tmp_path / "bad_batch.json").read_text())
    assert (saved["epoch"], saved["batch"], saved["loss"]) == (1, 2, "nan")
    assert len(saved["images"]) == 2
    assert all(name.endswith(".png") for name in saved["images"])
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 7  # the one before
    assert all(value.isfinite().all() for value in kept["state_dict"].values())


def test_where_looking_is_rare_no_checkpoint_is_written_behind_a_bad_loss(train, tmp_path):
    class Seldom(FiniteLoss):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self._unseen.append(
                (batch_idx, outputs["loss"], batch["index"])
            )  # as on a GPU, whose steps must not wait

    with pytest.raises(ValueError, match="nan in batch 1 of epoch 1"):
        train(tmp_path, Seldom(folder=tmp_path), Broken(0, 1), every_n_steps=3)
    assert not (tmp_path / "last.ckpt").exists()


def test_finite_losses_change_nothing(train, tmp_path):
    watched, _ = train(tmp_path / "watched", FiniteLoss(folder=tmp_path / "watched"))
    plain, _ = train(tmp_path / "plain")
    assert all(torch.equal(watched[key], plain[key]) for key in plain)
