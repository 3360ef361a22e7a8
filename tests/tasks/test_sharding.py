"""Which parts of a network are gathered one at a time."""

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

from maskmill.tasks.sharding import MIN_SIZE, blocks, is_sharded, shard


class Block(nn.Module):
    """A repeated part of a network, with as many weights as it is told."""

    def __init__(self, size):
        super().__init__()
        self.layer = nn.Linear(size, 1, bias=False)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.ModuleList([Block(MIN_SIZE), Block(MIN_SIZE - 1)])
        self.decoder = nn.Sequential(nn.Sequential(Block(MIN_SIZE), Block(1)), Block(MIN_SIZE + 1))
        self.head = Block(2 * MIN_SIZE)


def test_blocks_are_the_large_members_of_lists_and_the_rest_is_left_to_the_whole():
    network = Network()
    assert list(blocks(network)) == [network.encoder[0], network.decoder[0][0], network.decoder[1]]


def test_no_block_lies_within_another():
    outer = Block(MIN_SIZE)
    outer.inside = nn.ModuleList([Block(MIN_SIZE)])
    network = nn.Sequential(outer)
    assert list(blocks(nn.ModuleList([network]))) == [outer.inside[0]]


@pytest.fixture
def alone(tmp_path):
    """This process as the only one of a group."""
    dist.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_a_sharded_network_computes_the_same_also_with_channels_innermost(alone):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3)).to(
        memory_format=torch.channels_last
    )
    other, images = (
        copy.deepcopy(network),
        torch.rand(2, 3, 9, 9).contiguous(memory_format=torch.channels_last),
    )
    shard(network, alone)
    assert is_sharded(network)
    assert not is_sharded(other)
    assert [weight.ndim for weight in network.parameters()] == [
        4,
        1,
        4,
        1,
    ]  # which of them decay is told by that
    network(images).sum().backward()
    other(images).sum().backward()
    for ours, plain in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.allclose(
            ours.grad.full_tensor(), plain.grad, rtol=1e-5, atol=1e-5
        )  # other kernels for another memory format


def test_weights_without_elements_are_no_obstacle(alone):
    network = nn.Linear(4, 1)
    network.registers = nn.Parameter(torch.empty(1, 0, 4))  # as EoMT's where its backbone has none
    shard(network, alone)
    (network(torch.ones(1, 4)) + network.registers.sum()).sum().backward()
    assert network.weight.grad.full_tensor().tolist() == [[1.0] * 4]
