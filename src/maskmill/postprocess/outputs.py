"""What post-processors read: one TypedDict per kind of network outputs."""

from typing import NotRequired, TypedDict

from torch import Tensor


class SemanticOutputs(TypedDict):
    """Either `semantic`, or both `classes` and `confidence`.

    Sliding windows give the second form, because they do not keep the logits of a large image.

    Keys:
        semantic: (B, K, H, W) logits.
        classes: (B, H, W) class indices.
        confidence: (B, H, W) float32, the probability of that class.
    """

    semantic: NotRequired[Tensor]
    classes: NotRequired[Tensor]
    confidence: NotRequired[Tensor]


class PanopticDeepLabOutputs(SemanticOutputs):
    """Classes, centres and offsets per pixel.

    Keys:
        semantic, classes, confidence: as in `SemanticOutputs`.
        center: (B, 1, H, W) heatmap of instance centres, 1 at a centre.
        offset: (B, 2, H, W) vector from each pixel to the centre of its instance, (dy, dx) in px.
    """

    center: Tensor
    offset: Tensor


class MaskOutputs(TypedDict):
    """A class and a mask per query.

    Keys:
        class_logits: (B, Q, K + 1) logits; the last class is "no object".
        mask_logits: (B, Q, H/4, W/4) logits, rounded up.
    """

    class_logits: Tensor
    mask_logits: Tensor
