"""What post-processors read: one TypedDict per kind of network outputs."""

from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
ClassIndices = npt.NDArray[np.integer[Any]]


class SemanticOutputs(TypedDict):
    """A class per pixel.

    Keys:
        classes: (B, H, W) class indices.
        confidence: (B, H, W) float32, the probability of that class.
    """

    classes: ClassIndices
    confidence: Floats


class PanopticDeepLabOutputs(SemanticOutputs):
    """Classes, centres and offsets per pixel.

    Keys:
        classes, confidence: as in `SemanticOutputs`.
        center: (B, 1, H, W) float32 heatmap of instance centres, 1 at a centre.
        offset: (B, 2, H, W) float32 vector from each pixel to the centre of its instance, (dy, dx)
            in px.
    """

    center: Floats
    offset: Floats


class MaskOutputs(TypedDict):
    """A class and a mask per query.

    Keys:
        class_logits: (B, Q, K + 1) float32 logits; the last class is "no object".
        mask_logits: (B, Q, H/4, W/4) float32 logits, rounded up.
    """

    class_logits: Floats
    mask_logits: Floats
