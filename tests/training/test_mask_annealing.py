import pytest
import torch
from lightning import LightningModule, Trainer
from omegaconf import OmegaConf
from torch import nn
from torch.utils.data import DataLoader

from maskmill.assembly.build import build
from maskmill.training.mask_annealing import MaskAnnealing


class Blocks(nn.Module):
    def __init__(self):
        super().__init__()
        self.mask_probability = torch.ones(2)
        self.weight = nn.Parameter(torch.zeros(1))


class Recorder(LightningModule):
    """Records the probabilities of every step."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.probabilities = []

    def training_step(self, batch, batch_idx):
        self.probabilities.append(self.network.mask_probability.tolist())
        return self.network.weight.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(network, folder):
    task = Recorder(network)
    trainer = Trainer(
        accelerator="cpu",
        max_steps=8,
        callbacks=[MaskAnnealing(power=1.0)],
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(task, DataLoader(torch.zeros(4, 1), batch_size=1))
    return torch.tensor(task.probabilities)  # (steps, blocks)


def test_blocks_lose_their_masks_one_after_another_and_the_last_steps_have_none(tmp_path):
    # two blocks, eight steps: the first goes from 1 at step 2 to 0 at step 4, the second from
    # step 4 to step 6
    first, second = fit(Blocks(), tmp_path).T.tolist()
    assert first == pytest.approx([1, 1, 1, 0.5, 0, 0, 0, 0])
    assert second == pytest.approx([1, 1, 1, 1, 1, 0.5, 0, 0])


def test_a_network_without_masked_attention_is_refused(tmp_path):
    message = r"but got Linear - either set network=eomt or callbacks=default"
    with pytest.raises(ValueError, match=message):
        fit(nn.Linear(1, 1), tmp_path)


@pytest.mark.parametrize("power", [0.0, -1.0, float("nan")])
def test_a_power_that_is_not_positive_is_refused(power):
    node = {"_target_": "maskmill.training.mask_annealing.MaskAnnealing", "power": power}
    with pytest.raises(ValueError, match=r"callbacks\.power: .* Input should be greater than 0"):
        build(OmegaConf.create({"callbacks": node}).callbacks, MaskAnnealing)
