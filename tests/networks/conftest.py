from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import nn

from maskmill.assembly.build import build

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(autouse=True)
def _same_weights():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shipped():
    """A network as conf/ has it, built as the stage `train` builds it."""

    def make(name, *overrides, num_classes=5):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("config", [f"network={name}", *overrides])
        return build(cfg.network, nn.Module, num_classes=num_classes)

    return make
