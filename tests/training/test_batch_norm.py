import pytest
import torch
from lightning import LightningModule, Trainer, seed_everything
from torch import nn
from torch.utils.data import DataLoader

from maskmill.training.batch_norm import FrozenStatistics


class Normed(LightningModule):
    """A convolution and a batch norm; its statistics and weights are recorded after each epoch."""

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.means = []
        self.weights = []

    def training_step(self, batch, batch_idx):
        return self.network(batch).square().mean()

    def validation_step(self, batch, batch_idx):
        self.network(batch)

    def on_train_epoch_end(self):
        self.means.append(self.network[1].running_mean.clone())
        self.weights.append(self.network[1].weight.detach().clone())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize(
    ("start", "changes"),
    [(0.0, [False] * 4), (0.6, [True, True, False, False]), (0.9, [True] * 4)],
)
def test_statistics_stay_from_a_share_of_the_epochs_on_and_weights_train_on(
    start, changes, tmp_path
):
    seed_everything(0, verbose=False)
    task = Normed()
    loader = DataLoader([torch.rand(3, 4, 4) for _ in range(4)], batch_size=2)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=5,
        callbacks=[FrozenStatistics(start)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(task, loader, loader)  # the validation switches all modules and back
    pairs = list(zip(task.means, task.means[1:], strict=False))
    assert [not torch.equal(before, after) for before, after in pairs] == changes
    for before, after in zip(task.weights, task.weights[1:], strict=False):
        assert not torch.equal(before, after)
