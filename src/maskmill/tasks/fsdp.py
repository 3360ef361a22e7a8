"""FSDP2: each process keeps a share of weights, gradients and optimizer states."""

from collections.abc import Iterator

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

LISTS = (nn.ModuleList, nn.Sequential)
# Weights of a block that is gathered by itself: gathering many small ones costs more than it saves.
MIN_SIZE = 500_000


def apply_fsdp(network: nn.Module, mesh: DeviceMesh) -> None:
    """Distribute a network's weights in place: first each large block, then what remains.

    Names and shapes of the weights stay the same. FSDP: Zhao et al., arXiv:2304.11277.

    Args:
        network: a network without FSDP.
        mesh: the processes, a mesh of one dimension.
    """
    for weight in network.parameters():
        # FSDP2 refuses weights in channels_last format; the images may have it nevertheless.
        weight.data = weight.data.contiguous()
        # FSDP2 cannot distribute a weight without elements, such as EoMT's absent registers.
        if weight.numel() == 0:
            weight.requires_grad_(False)
    for block in find_blocks(network):
        fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)


def find_blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The large members of a module's lists, at any depth; no block contains another."""
    for child in module.children():
        inner_blocks = list(find_blocks(child))
        is_member = isinstance(module, LISTS) and not isinstance(child, LISTS)
        size = sum(weight.numel() for weight in child.parameters())
        if inner_blocks:
            yield from inner_blocks
        elif is_member and size >= MIN_SIZE:
            yield child


def uses_fsdp(network: nn.Module) -> bool:
    """Has `apply_fsdp` distributed this network?"""
    return isinstance(network, FSDPModule)
