from functools import partial

import pytest
import torch
from lightning import LightningModule, Trainer, seed_everything
from torch import nn
from torch.utils.data import DataLoader

from maskmill.networks.encoders import TimmEncoder
from maskmill.training.unfreezing import GradualUnfreezing


class Tiny(LightningModule):
    """An encoder of six stages (stem and four, one of them empty of weights) and a head."""

    def __init__(self):
        super().__init__()
        self.network = nn.ModuleDict(
            {"encoder": TimmEncoder("resnet10t").create(), "head": nn.Conv2d(512, 2, 1)}
        )

    def training_step(self, batch, batch_idx):
        return self.network["head"](self.network["encoder"](batch)[-1]).square().mean()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2, weight_decay=0.1)


def changed(before, after):
    """Which top-level parts differ in any tensor, statistics included."""
    parts = {}
    for key in before:
        name = key.split(".")[3] if key.startswith("network.encoder") else "head"
        parts[name] = parts.get(name, False) or not torch.equal(before[key], after[key])
    return {name for name, moved in parts.items() if moved}


def train(callback, epochs, folder):
    seed_everything(0)
    task = Tiny()
    before = {key: value.clone() for key, value in task.state_dict().items()}
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=1.0,
        default_root_dir=folder,
    )
    trainer.fit(task, DataLoader([torch.rand(3, 64, 64) for _ in range(2)], batch_size=2))
    return changed(before, task.state_dict())


@pytest.mark.parametrize(
    ("epochs", "learned"),
    [
        (1, {"head"}),
        (2, {"head", "layer4"}),
        (3, {"head", "layer4", "layer3"}),
        (6, {"head", "layer4", "layer3", "layer2", "layer1", "conv1", "bn1"}),
    ],
)
def test_stages_join_from_the_last_to_the_stem_weights_and_statistics_alike(
    epochs, learned, tmp_path
):
    assert train(GradualUnfreezing(start_epoch=1, every_n_epochs=1), epochs, tmp_path) == learned


def test_zero_epochs_between_stages_frees_them_together(tmp_path):
    assert train(GradualUnfreezing(start_epoch=1, every_n_epochs=0), 1, tmp_path) == {"head"}
    assert "conv1" in train(GradualUnfreezing(start_epoch=1, every_n_epochs=0), 2, tmp_path)


@pytest.mark.parametrize("values", [{"start_epoch": -1}, {"every_n_epochs": -1}], ids=str)
def test_values_out_of_range_are_refused(values):
    with pytest.raises(ValueError, match=r"Expected .* but got .* mend"):
        partial(GradualUnfreezing, **values)()
