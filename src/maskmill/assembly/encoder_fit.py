"""Which encoders a network cannot use, as far as their names tell, decided without torch.

The network itself tries its encoder when it is built. By then `dvc repro` has prepared the data, so
the families of timm that are used most are checked before.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any

DEFAULT_STRIDE = 32  # of a network that does not dilate its encoder


class EncoderKind(Enum):
    """The feature maps of an encoder: several sizes or one, and whether it can be dilated."""

    CONVOLUTIONAL = "convolutional network"
    PYRAMID = "pyramid transformer"
    PLAIN = "plain transformer"


FAMILIES = {
    EncoderKind.CONVOLUTIONAL: (
        "resnet",
        "convnext",
        "efficientnet_",
        "tf_efficientnet",
        "mobilenetv",
    ),
    EncoderKind.PYRAMID: ("pvt_v2_", "swin_", "swinv2_"),
    EncoderKind.PLAIN: ("vit_", "deit_", "deit3_"),
}
FOR_PYRAMIDS = (
    "maskmill.networks.decoders.EncoderDecoder",
    "maskmill.networks.panoptic_deeplab.PanopticDeepLab",
    "maskmill.networks.mask2former.from_encoder",
)
FOR_PLAIN = "maskmill.networks.eomt.from_encoder"
LIBRARY = "segmentation_models_pytorch."
FOR_ALL = LIBRARY + "DPT"


def kind_of_encoder(name: str) -> EncoderKind | None:
    """The kind of a timm backbone of a well-known family; None for others."""
    for kind, prefixes in FAMILIES.items():
        if name.startswith(prefixes):
            return kind
    return None


def fitting_kinds(network: Mapping[str, Any]) -> frozenset[EncoderKind]:
    """The kinds of encoders that a network can use; all if its configuration does not tell."""
    target = network.get("_target_")
    if target == FOR_PLAIN:
        return frozenset({EncoderKind.PLAIN})
    decoder = network.get("decoder", {})  # within the class, for Panoptic-DeepLab and Mask2Former
    if target not in FOR_PYRAMIDS or not isinstance(decoder, Mapping):
        return frozenset(EncoderKind)
    of_decoder = str(decoder.get("_target_", LIBRARY))
    if of_decoder == FOR_ALL or not of_decoder.startswith(LIBRARY):
        return frozenset(EncoderKind)
    stride = decoder.get("encoder_output_stride", network.get("output_stride"))
    if isinstance(stride, int) and stride < DEFAULT_STRIDE:
        return frozenset({EncoderKind.CONVOLUTIONAL})
    return frozenset({EncoderKind.CONVOLUTIONAL, EncoderKind.PYRAMID})


def encoder_fits(network: Mapping[str, Any], encoder: Mapping[str, Any]) -> bool:
    """Whether a network can use an encoder; True if the names do not tell."""
    kind = kind_of_encoder(str(encoder.get("name")))
    return kind is None or kind in fitting_kinds(network)
