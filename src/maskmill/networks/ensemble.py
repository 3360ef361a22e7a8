"""The mean of several networks, for example those of the folds of a cross-validation."""

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

from torch import Tensor, nn

from maskmill.networks.padding import at_any_size


class Ensemble(nn.Module):
    """The mean outputs of several networks, of class logits too, as nnU-Net averages its folds.

    Args:
        networks: constructors that take `num_classes` alone; the networks have the same outputs, a
            `stride` and a `body`.
        num_classes: K.

    Raises:
        ValueError: there is no network.

    Example:
        >>> from functools import partial
        >>> import torch
        >>> from maskmill.networks.encoders import TimmEncoder
        >>> from maskmill.networks.panoptic_deeplab import PanopticDeepLab
        >>> values = {"width": 16, "atrous_rates": [1, 2, 3]}
        >>> network = partial(PanopticDeepLab, TimmEncoder("resnet10t"), **values)
        >>> ensemble = Ensemble([network, network], num_classes=5).eval()
        >>> ensemble(torch.zeros(1, 3, 40, 60, dtype=torch.uint8))["semantic"].shape
        torch.Size([1, 5, 40, 60])
    """

    def __init__(self, networks: Sequence[Callable[..., nn.Module]], *, num_classes: int) -> None:
        super().__init__()
        if not networks:
            raise ValueError("Expected the networks of an ensemble, but got none - list them")
        members = []
        for make_network in networks:
            members.append(make_network(num_classes=num_classes))
        self.networks = nn.ModuleList(members)
        self.stride = math.lcm(*[cast(int, network.stride) for network in members])

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The mean of each output.

        Args:
            images: (B, C, H, W) with values 0..255.
        """
        return at_any_size(self.body, images, self.stride)

    def body(self, images: Tensor) -> dict[str, Tensor]:
        """Outputs for images whose sides are multiples of `stride`; the part that is exported.

        Args:
            images: (B, C, H, W) with values 0..255.
        """
        first, *others = cast(Any, self.networks)
        total: dict[str, Tensor] = dict(first.body(images))
        for network in others:
            for name, value in network.body(images).items():
                total[name] = total[name] + value
        return {name: value / len(self.networks) for name, value in total.items()}
