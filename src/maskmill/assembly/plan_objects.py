"""The rules of `maskmill plan` for objects: the scale of the network, and the grouping."""

from math import log2

from maskmill.assembly.plan_choice import Choice
from maskmill.data.profile import DataProfile, Spread

# px of the network that half of the objects should have: 16 cells of the outputs, whose stride is 4
SEEN_SIDE = 64
DOUBLINGS = (0, 1)  # of the image's sides: the size of the image, or twice
SHORT_DOUBLINGS = (-1, 1)  # of a training with few steps: also half, with a quarter of the work
SIGMA_PER_OBJECT = 1 / 8  # of the side
SIGMA_PX = (2.0, 12.0)  # px of the network
STUFF_PER_IMAGE = 2048 / (1024 * 2048)  # smallest stuff area of Panoptic-DeepLab, of the image


def network_scale(profile: DataProfile, *, is_short: bool = False) -> float:
    """The factor that brings the median object closer to `SEEN_SIDE`.

    Returns:
        1 or 2; in a short training also 0.5.
    """
    doublings = round(log2(SEEN_SIDE / max(_sides(profile).middle, 1)))
    lowest, highest = SHORT_DOUBLINGS if is_short else DOUBLINGS
    return float(2.0 ** min(max(doublings, lowest), highest))


def scaling(profile: DataProfile, scale: float) -> list[Choice]:
    """The scale of the network and the stride of its encoder; none for the size of the images."""
    if scale == 1:
        return []
    middle = _sides(profile).middle
    reason = (
        f"half of the objects are at most {middle:.0f} px long: the network sees them at "
        f"{scale:g} times their size, closer to {SEEN_SIDE} px"
    )
    if scale < 1:
        reason += "; a step takes a quarter of the time, and the training is short"
        return [Choice("network.scale", scale, reason)]
    stride = "16 px of the image, as in the paper, at half the work of a stride of 16"
    return [Choice("network.scale", scale, reason), Choice("network.output_stride", 32, stride)]


def grouping(profile: DataProfile, scale: float, *, has_stuff: bool) -> list[Choice]:
    """Sizes of Panoptic-DeepLab's targets and of its grouping, relative to the objects."""
    middle = _sides(profile).middle
    half = f"half of the objects are at most {middle:.0f} px long"
    smallest_sigma, largest_sigma = SIGMA_PX
    sigma = min(max(middle * SIGMA_PER_OBJECT, smallest_sigma / scale), largest_sigma / scale)
    offset_weight = round(min(max(1 / middle, 0.01), 0.1), 3)
    smallest = max(profile.smallest_object // 2, 4)
    top_k = max(200, 2 * profile.objects_per_image)
    choices = [
        Choice("loss.sigma_px", round(sigma, 1), f"an eighth of an object: {half}"),
        Choice(
            "loss.offset_weight",
            offset_weight,
            f"offsets grow with the objects: {half}; 0.01 in the paper",
        ),
        Choice(
            "task.postprocess.nms_kernel",
            _kernel(_sides(profile)),
            "a centre is the highest point within half an object, else large objects would be "
            f"split: {half}",
        ),
        Choice(
            "task.postprocess.top_k",
            top_k,
            f"an image has up to {profile.objects_per_image} objects; 200 in the paper",
        ),
        Choice(
            "task.postprocess.min_area_px",
            smallest,
            f"half of {profile.smallest_object} px: 99 % of the objects are larger",
        ),
        Choice(
            "augment.min_area_px",
            smallest,
            "what a crop leaves of an object counts from this area on",
        ),
    ]
    if has_stuff:
        by_image = int(STUFF_PER_IMAGE * profile.height * profile.width)
        area = max(min(by_image, profile.smallest_stuff), 1)
        reason = (
            f"the paper's share of the image is {by_image} px; 99 % of the stuff segments have "
            f"more than {profile.smallest_stuff} px"
        )
        choices.append(Choice("task.postprocess.stuff_area_px", area, reason))
    return choices


def _sides(profile: DataProfile) -> Spread:
    assert profile.object_side is not None  # `choose_task`
    return profile.object_side


def _kernel(sides: Spread) -> int:
    """The side of the median object, odd."""
    return max(int(sides.middle), 3) // 2 * 2 + 1
