"""What the network says of one image, in the data set's own ids."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.canonical.panoptic import Panoptic


@dataclass(frozen=True, eq=False)
class Prediction:
    """A class for every pixel, and segments.

    Args:
        semantic: (H, W) int32 category ids; -1 is background, which only data sets without stuff have.
        panoptic: the segments, each with a score; pixels no segment claims are void.
    """

    semantic: npt.NDArray[np.int32]
    panoptic: Panoptic
