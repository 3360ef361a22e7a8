"""The same network, faster: memory format, compilation and kept memory.

The first two change results in their last bits, so they belong to the configuration.
"""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from maskmill.canonical.freed_memory import keep_all_freed_memory


class ChannelsLast(Callback):
    """Weights and images in channels_last format, which suits tensor cores and CPU convolutions."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Convert the network, and let it convert its inputs."""
        network = _network(pl_module)
        network.to(memory_format=torch.channels_last)
        network.register_forward_pre_hook(_channels_last)


class KeptMemory(Callback):
    """Memory of a step is used by the next step as it is; results have the same bits.

    On a CPU under Linux it stays with the process until that ends: for logits of many classes, a
    third of a step is otherwise spent on getting memory from the system. With deterministic
    algorithms PyTorch also fills each new tensor with NaN, in thousands of small writes a step, to
    expose code that reads what it never wrote; that is left out.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Configure the C library and PyTorch."""
        keep_all_freed_memory()
        filling = torch.utils.deterministic
        filling.fill_uninitialized_memory = False  # type: ignore[missing-attribute] # a property


class Compiled(Callback):
    """Compile the network in place by torch.compile.

    The names of the weights stay the same, so checkpoints fit the network in either form.

    Args:
        mode: mode of torch.compile: default, reduce-overhead or max-autotune.
        dynamic: compile for any image size; None compiles for the first size and recompiles when
            others follow, as in validation.
    """

    def __init__(self, *, mode: str = "default", dynamic: bool | None = None) -> None:
        self.mode = mode
        self.dynamic = dynamic

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Compile; the work itself happens at the first batch."""
        _network(pl_module).compile(mode=self.mode, dynamic=self.dynamic)


def _network(pl_module: LightningModule) -> nn.Module:
    network = pl_module.network
    assert isinstance(network, nn.Module)
    return network


def _channels_last(network: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    converted = []
    for value in arguments:
        if isinstance(value, Tensor) and value.ndim == 4:
            value = value.contiguous(memory_format=torch.channels_last)
        converted.append(value)
    return tuple(converted)
