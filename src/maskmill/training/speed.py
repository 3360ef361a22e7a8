"""The same network, faster: memory format and compilation. Numbers change in their last bits, so both belong to the configuration."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn


class ChannelsLast(Callback):
    """Kernels and images with the channels innermost, as tensor cores and the CPU's convolutions like them."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Convert the network, and have it convert what it is given."""
        network = _network(pl_module)
        network.to(memory_format=torch.channels_last)
        network.register_forward_pre_hook(_channels_last)


class Compiled(Callback):
    """Compile the network in place with torch.compile; names of weights stay, so checkpoints fit either way.

    Args:
        mode: of torch.compile: default, reduce-overhead, max-autotune.
        dynamic: compile for any image size; None starts with fixed sizes and widens where others come, as in validation.
    """

    def __init__(self, *, mode: str = "default", dynamic: bool | None = None) -> None:
        self.mode, self.dynamic = mode, dynamic

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Compile; the work itself comes with the first batch."""
        _network(pl_module).compile(mode=self.mode, dynamic=self.dynamic)


def _network(pl_module: LightningModule) -> nn.Module:
    network = pl_module.network
    assert isinstance(network, nn.Module)
    return network


def _channels_last(network: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        value.contiguous(memory_format=torch.channels_last)
        if isinstance(value, Tensor) and value.ndim == 4
        else value
        for value in arguments
    )
