"""Which parts of a network are gathered one at a time."""

from torch import nn

from maskmill.tasks.sharding import MIN_SIZE, blocks


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
