"""What networks return: one TypedDict per kind of network."""

from typing import NotRequired, TypedDict

from torch import Tensor


class SemanticOutputs(TypedDict):
    """Class logits per pixel.

    Keys:
        semantic: (B, K, H, W) logits.
        auxiliary: (B, K, H, W) logits of an inner feature; only in training, and only if asked for.
    """

    semantic: Tensor
    auxiliary: NotRequired[Tensor]


class PanopticDeepLabOutputs(TypedDict):
    """Class, centre and offset per pixel.

    Keys:
        semantic: (B, K, H, W) logits.
        center: (B, 1, H, W) heatmap of instance centres, 1 at a centre.
        offset: (B, 2, H, W) vector from each pixel to the centre of its instance, (dy, dx) in px.
    """

    semantic: Tensor
    center: Tensor
    offset: Tensor


class MaskOutputs(TypedDict):
    """A class and a mask per query.

    Keys:
        class_logits: (B, Q, K + 1) logits; the last class is "no object".
        mask_logits: (B, Q, H/4, W/4) logits, rounded up.
        aux_class_logits: (layers, B, Q, K + 1), the predictions before each of the last layers;
            only in training.
        aux_mask_logits: (layers, B, Q, H/4, W/4), the predictions before each of the last layers;
            only in training.
    """

    class_logits: Tensor
    mask_logits: Tensor
    aux_class_logits: NotRequired[Tensor]
    aux_mask_logits: NotRequired[Tensor]


def check_num_classes(num_classes: int) -> None:
    """Check the number of classes, which comes from the category table and not from conf/.

    Raises:
        ValueError: `num_classes` is less than 1.
    """
    if num_classes < 1:
        raise ValueError(
            f"Expected `num_classes` of at least 1, but got {num_classes} - "
            "pass categories.num_outputs"
        )
