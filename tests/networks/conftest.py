from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from commands import SMALL_ENCODER
from maskmill.assembly.build import build

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(autouse=True)
def _same_weights():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def build_network():
    """Builds a network of conf/network in the same way as the stage `train`."""

    def build_from_conf(name, *overrides, encoder="resnet10t", num_classes=5):
        files = {"network": name, "encoder": encoder}  # alone: composing all groups takes 0.4 s
        parts = {}
        for group, choice in files.items():
            parts[group] = OmegaConf.load(CONF / group / f"{choice}.yaml")
            parts[group].pop("defaults", None)
        if encoder == "resnet10t":
            parts["encoder"].name = SMALL_ENCODER
        given = [override.removeprefix("+") for override in overrides]
        cfg = OmegaConf.merge(parts, OmegaConf.from_dotlist(given))
        return build(cfg.network, nn.Module, num_classes=num_classes)

    return build_from_conf


@pytest.fixture(scope="session")
def shapes_of():
    """Shapes of all outputs, by name."""

    def read_shapes(outputs):
        return {name: tuple(value.shape) for name, value in outputs.items()}

    return read_shapes


@pytest.fixture(scope="session")
def weights_without_gradient():
    """Names of the weights whose gradient is missing or not finite."""

    def find_names(network):
        names = []
        for name, value in network.named_parameters():
            if value.grad is None or not value.grad.isfinite().all():
                names.append(name)
        return names

    return find_names


@pytest.fixture(scope="session")
def random_images():
    """Random uint8 images (B, 3, H, W)."""

    def draw(size, batch=2, seed=0):
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8, generator=generator)

    return draw
