"""The families of scores that an evaluation computes, and the names of their scores."""

from collections.abc import Iterable
from typing import Literal

Family = Literal["PQ", "mIoU", "AP", "boundary", "calibration", "brightness"]
PREFIXES: dict[Family, tuple[str, ...]] = {
    "PQ": ("PQ", "SQ", "RQ"),
    "mIoU": ("mIoU", "IoU", "fwIoU", "pixel_accuracy", "Dice"),
    "AP": ("AP", "AR"),
    "boundary": ("boundary_",),
    "calibration": ("ECE",),
    "brightness": (),  # slices of the other scores; the images are decoded for it
}
ALL_FAMILIES: tuple[Family, ...] = tuple(PREFIXES)


def prefixes(families: Iterable[Family]) -> tuple[str, ...]:
    """How the names of the scores of some families begin.

    Example:
        >>> "PQ/thing".startswith(prefixes(["PQ", "AP"]))
        True
    """
    names: tuple[str, ...] = ()
    for family in families:
        names += PREFIXES[family]
    return names
