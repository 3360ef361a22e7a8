import pytest
import torch
from lightning import LightningModule, Trainer, seed_everything
from omegaconf import OmegaConf
from torch import nn
from torch.utils.data import DataLoader

from maskmill.assembly.build import build
from maskmill.networks.encoders import TimmEncoder
from maskmill.training.unfreezing import GradualUnfreezing


class EncoderAndHead(LightningModule):
    """An encoder of six stages (stem and four, another one without weights) and a head."""

    def __init__(self):
        super().__init__()
        encoder = TimmEncoder("resnet10t").create()
        self.network = nn.ModuleDict({"encoder": encoder, "head": nn.Conv2d(512, 2, 1)})

    def training_step(self, batch, batch_idx):
        features = self.network["encoder"](batch)
        return self.network["head"](features[-1]).square().mean()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2, weight_decay=0.1)


def changed_modules(before, after):
    """Names of the top-level modules with a changed tensor, statistics included."""
    changed = set()
    for key in before:
        name = key.split(".")[3] if key.startswith("network.encoder") else "head"
        if not torch.equal(before[key], after[key]):
            changed.add(name)
    return changed


def train(callback, epochs, folder):
    seed_everything(0)
    task = EncoderAndHead()
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
    return changed_modules(before, task.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("epochs", "trained"),
    [
        (1, {"head"}),
        (2, {"head", "layer4"}),
        (3, {"head", "layer4", "layer3"}),
        (6, {"head", "layer4", "layer3", "layer2", "layer1", "conv1", "bn1"}),
    ],
)
def test_weights_and_statistics_of_stages_train_from_the_last_to_the_stem(
    epochs, trained, tmp_path
):
    assert train(GradualUnfreezing(start_epoch=1, every_n_epochs=1), epochs, tmp_path) == trained


@pytest.mark.slow
def test_an_interval_of_zero_epochs_unfreezes_all_stages_together(tmp_path):
    assert train(GradualUnfreezing(start_epoch=1, every_n_epochs=0), 1, tmp_path) == {"head"}
    assert "conv1" in train(GradualUnfreezing(start_epoch=1, every_n_epochs=0), 2, tmp_path)


@pytest.mark.parametrize("name", ["start_epoch", "every_n_epochs"])
def test_values_out_of_range_are_refused(name):
    node = {"_target_": "maskmill.training.unfreezing.GradualUnfreezing", name: -1}
    with pytest.raises(ValueError, match=rf"callbacks\.{name}: .* greater than or equal to 0"):
        build(OmegaConf.create({"callbacks": node}).callbacks, GradualUnfreezing)
