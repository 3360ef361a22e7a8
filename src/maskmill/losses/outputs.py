"""What losses read of a network's outputs: one TypedDict for each kind.

`assembly.combinations` compares them with what a network gives, before a training starts.
"""

from typing import NotRequired, TypedDict

from torch import Tensor


class ClassOutputs(TypedDict):
    """Class logits per pixel.

    Keys:
        semantic: (B, K, H, W) logits.
    """

    semantic: Tensor


class AuxiliaryOutputs(ClassOutputs):
    """Class logits per pixel, in training also those of an inner feature.

    Keys:
        auxiliary: (B, K, H, W) logits; only in training.
    """

    auxiliary: Tensor


class InstanceOutputs(TypedDict):
    """Centres and offsets per pixel.

    Keys:
        center: (B, 1, H, W) heatmap of instance centres, 1 at a centre.
        offset: (B, 2, H, W) vector from each pixel to the centre of its instance, (dy, dx) in px.
    """

    center: Tensor
    offset: Tensor


class MaskOutputs(TypedDict):
    """A class and a mask per query.

    Keys:
        class_logits: (B, Q, K + 1) logits; the last class is "no object".
        mask_logits: (B, Q, h, w) logits.
        aux_class_logits: (L, B, Q, K + 1), of the inner layers; only in training.
        aux_mask_logits: (L, B, Q, h, w), of the inner layers; only in training.
    """

    class_logits: Tensor
    mask_logits: Tensor
    aux_class_logits: NotRequired[Tensor]
    aux_mask_logits: NotRequired[Tensor]
