"""A network in torch as post-processing and inference use it: NumPy arrays in, NumPy arrays out."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maskmill.postprocess.array_network import MAX_UINT8
from maskmill.postprocess.prediction import Images, Outputs

Tensors = Mapping[str, Tensor]  # outputs of any network; maskmill.networks.outputs lists the keys
TensorNetwork = Callable[[Tensor], Tensors]  # images (B, 3, H, W) uint8 to outputs


class TorchNetwork:
    """Images to outputs, whose class logits are reduced on the network's device.

    Args:
        forward: images (B, 3, H, W) uint8 to outputs of that size; a module in evaluation mode or
            an exported program.
        device: of the network.
        temperature: of the calibration, see `reduce_logits`.

    Example:
        >>> network = TorchNetwork(lambda images: {"semantic": images.float()})
        >>> outputs = network(np.full((1, 3, 2, 2), 7, np.uint8))
        >>> outputs["classes"].shape, round(float(outputs["confidence"][0, 0, 0]), 3)
        ((1, 2, 2), 0.333)
    """

    def __init__(
        self, forward: TensorNetwork, *, device: str = "cpu", temperature: float = 1.0
    ) -> None:
        self.forward = forward
        self.temperature = temperature
        self.device = torch.device(device)

    def __call__(self, images: Images) -> Outputs:
        """The outputs that post-processing reads, see `as_arrays`.

        Args:
            images: (B, 3, H, W) uint8.
        """
        return as_arrays(self.maps(images), self.temperature)

    def maps(self, images: Images) -> Tensors:
        """The outputs with class logits, of images (B, 3, H, W) uint8."""
        return self.tensors(torch.from_numpy(images))

    def reduce(self, maps: Tensors) -> Tensors:
        """Classes and confidence in place of logits, see `reduce_logits`."""
        return reduce_logits(maps, self.temperature)

    @torch.inference_mode()
    def tensors(self, images: Tensor) -> Tensors:
        """The outputs with class logits, on the network's device.

        Args:
            images: (B, 3, H, W) uint8, on any device.
        """
        return self.forward(images.to(self.device))


@torch.inference_mode()
def as_arrays(outputs: Tensors, temperature: float = 1.0) -> dict[str, npt.NDArray[Any]]:
    """The outputs of a network as `maskmill.postprocess.outputs` describes them.

    Args:
        outputs: on any device, in any floating-point type.
        temperature: see `reduce_logits`.

    Returns:
        the class indices as integers, all others as float32.
    """
    arrays = {}
    for name, value in reduce_logits(outputs, temperature).items():
        number = value.float() if value.is_floating_point() else value
        arrays[name] = np.asarray(number.cpu())
    return arrays


def reduce_logits(outputs: Tensors, temperature: float = 1.0) -> dict[str, Tensor]:
    """The most likely class of each pixel and its probability instead of class logits.

    It is part of exported graphs too.

    Args:
        outputs: of a network. `semantic` is (B, K, H, W) logits.
        temperature: divides the logits before the softmax; the classes do not depend on it.

    Returns:
        `classes` (B, H, W), uint8 for up to 256 classes and int16 for more, and `confidence`
        (B, H, W) float32 in place of `semantic`; the other outputs as they are.
    """
    if "semantic" not in outputs:
        return dict(outputs)
    logits = outputs["semantic"].float()  # (B, K, H, W)
    highest, classes = logits.max(dim=1, keepdim=True)  # (B, 1, H, W) each
    # softmax of the most likely class only: exp(0) / total
    difference = logits - highest  # (B, K, H, W)
    if temperature != 1:
        difference = difference / temperature
    total = difference.exp_().sum(dim=1)  # (B, H, W)
    integer = torch.uint8 if logits.shape[1] <= MAX_UINT8 else torch.int16
    reduced = {"classes": classes.squeeze(1).to(integer), "confidence": total.reciprocal()}
    others = {name: value for name, value in outputs.items() if name != "semantic"}
    return reduced | others
