"""The blocks of a network that FSDP gathers one at a time, and FSDP in a group of one process."""

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

from maskmill.tasks.fsdp import MIN_SIZE, apply_fsdp, find_blocks, uses_fsdp


class Block(nn.Module):
    """A repeated module of a network, with `size` weights."""

    def __init__(self, size):
        super().__init__()
        self.layer = nn.Linear(size, 1, bias=False)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.ModuleList([Block(MIN_SIZE), Block(MIN_SIZE - 1)])
        self.decoder = nn.Sequential(nn.Sequential(Block(MIN_SIZE), Block(1)), Block(MIN_SIZE + 1))
        self.head = Block(2 * MIN_SIZE)


def test_blocks_are_the_large_members_of_lists():
    network = Network()
    expected = [network.encoder[0], network.decoder[0][0], network.decoder[1]]
    assert list(find_blocks(network)) == expected


def test_no_block_contains_another():
    outer = Block(MIN_SIZE)
    outer.inside = nn.ModuleList([Block(MIN_SIZE)])
    network = nn.Sequential(outer)
    assert list(find_blocks(nn.ModuleList([network]))) == [outer.inside[0]]


@pytest.fixture
def mesh(tmp_path):
    """This process as the only one of a group."""
    store = f"file://{tmp_path / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_a_network_with_fsdp_computes_the_same_also_in_channels_last_format(mesh):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3))
    network.to(memory_format=torch.channels_last)
    plain_network = copy.deepcopy(network)
    images = torch.rand(2, 3, 9, 9).contiguous(memory_format=torch.channels_last)
    apply_fsdp(network, mesh)
    assert uses_fsdp(network)
    assert not uses_fsdp(plain_network)
    # the number of dimensions decides about weight decay
    assert [weight.ndim for weight in network.parameters()] == [4, 1, 4, 1]
    network(images).sum().backward()
    plain_network(images).sum().backward()
    for weight, plain in zip(network.parameters(), plain_network.parameters(), strict=True):
        # another memory format has other kernels
        assert torch.allclose(weight.grad.full_tensor(), plain.grad, rtol=1e-5, atol=1e-5)


def test_weights_without_elements_are_accepted(mesh):
    network = nn.Linear(4, 1)
    # as in EoMT, if its backbone has no register tokens
    network.registers = nn.Parameter(torch.empty(1, 0, 4))
    apply_fsdp(network, mesh)
    (network(torch.ones(1, 4)) + network.registers.sum()).sum().backward()
    assert network.weight.grad.full_tensor().tolist() == [[1.0] * 4]
