"""A warning where images are much larger than the default crops, those of the scenes."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only

from maskmill.assembly.conf_search_path import packaged_conf
from maskmill.canonical.yaml_file import read_yaml

log = logging.getLogger(__name__)

SCENES = "sizes/scenes.yaml"  # the default sizes
SMALL_SHARE = 0.1  # of an image; a smaller crop shows little of it, or little detail


@rank_zero_only
def warn_of_small_crops(crop_size: Sequence[int], dataset: Mapping[str, Any]) -> None:
    """Log what `small_crops` finds, once among all processes of a training.

    Args:
        crop_size: height and width in px.
        dataset: the content of dataset.json.
    """
    found = small_crops(crop_size, dataset.get("statistics", {}).get("train"))
    if found is not None:
        log.warning("%s", found)


def small_crops(crop_size: Sequence[int], images: Mapping[str, Any] | None) -> str | None:
    """What to change if the crops are those of the scenes and the images are much larger.

    The crops are too small if they have less than `SMALL_SHARE` of the pixels of an image with the
    smallest height and the smallest width. Other sizes than those of the scenes were chosen by
    somebody, and are not checked.

    Args:
        crop_size: height and width in px.
        images: the statistics of the training split, with the smallest and the largest `height` and
            `width`; None: an earlier version, which wrote none.

    Returns:
        a message; None if the crops fit, or are not those of the scenes.
    """
    of_scenes = read_yaml(packaged_conf() / SCENES)["crop_size"]
    if images is None or list(crop_size) != of_scenes:
        return None
    heights, widths = images["height"], images["width"]
    height, width = crop_size
    if height * width >= SMALL_SHARE * heights[0] * widths[0]:
        return None
    sizes = f"{heights[0]} x {widths[0]}"
    if (heights[0], widths[0]) != (heights[-1], widths[-1]):
        sizes += f" to {heights[-1]} x {widths[-1]}"
    return (
        f"crops have {height} x {width} px, but the training images have {sizes} px: the default "
        "sizes fit the embedded scenes - either run `maskmill plan` and train with "
        "experiment=planned, or set data.crop_size"
    )
