"""A network dealt to the processes: each keeps a share of weights, gradients and optimiser states, and gathers the rest as needed."""

from collections.abc import Iterator

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

LISTS = (nn.ModuleList, nn.Sequential)
MIN_SIZE = 500_000  # weights of a block that is gathered by itself; gathering many small ones would cost more than it saves


def shard(network: nn.Module, processes: DeviceMesh) -> None:
    """Shard in place, block by block, then what is left (FSDP2; Zhao et al., arXiv:2304.11277). Names and shapes of the weights stay.

    Args:
        network: not sharded yet.
        processes: a mesh of one dimension.
    """
    for weight in network.parameters():
        weight.data = (
            weight.data.contiguous()
        )  # FSDP2 refuses kernels with their channels innermost; images may be so all the same
    for weight in network.parameters():
        weight.requires_grad_(
            weight.requires_grad and weight.numel() > 0
        )  # FSDP2 cannot deal out nothing, as EoMT's absent registers
    for block in blocks(network):
        fully_shard(block, mesh=processes)
    fully_shard(network, mesh=processes)


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The members of its lists, at any depth, that are worth gathering one at a time; none lies within another."""
    for child in module.children():
        inner = list(blocks(child))
        member = isinstance(module, LISTS) and not isinstance(child, LISTS)
        large = sum(weight.numel() for weight in child.parameters()) >= MIN_SIZE
        yield from inner or ([child] if member and large else [])


def is_sharded(network: nn.Module) -> bool:
    """Did `shard` see it?"""
    return isinstance(network, FSDPModule)
