"""A network that is small enough to export it in each test."""

import torch
from torch import nn

from maskmill.networks.padding import at_any_size


class StridedNetwork(nn.Module):
    """A network of stride 8: a convolution and a transposed convolution."""

    stride = 8

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 4, 8, stride=8)
        self.up = nn.ConvTranspose2d(4, 2, 8, stride=8)

    def forward(self, images):
        return at_any_size(self.body, images, self.stride)

    def body(self, images):
        return {"semantic": self.up(torch.relu(self.down(images.float())))}
