"""The augmentation that suits a data profile: windows, flips and the strength of the colours."""

from collections.abc import Sequence
from typing import Any

from maskmill.assembly.plan_choice import Choice
from maskmill.data.profile import DataProfile

FEW_IMAGES, MANY_IMAGES = 200, 5000
BRIGHTNESS_MODES = 45  # levels between images; street scenes have about 20
HUE, HUE_OF_STAINS = 0.02, 0.1
SAME_SIZE = 1.5  # ratio of areas up to which windows may be shares of an image
RATIO = [0.8, 1.25]
CROP_SIZE = "${data.crop_size}"
SCALE_JITTER = "maskmill.data.scale_jitter.ScaleJitter"
AREA_POWER = 0.5


def augmentation(profile: DataProfile, crop: Sequence[int]) -> list[Choice]:
    """The list of transforms; the reason has a sentence for each decision.

    Args:
        profile: of the data.
        crop: height and width of the training samples.
    """
    zoom, strength, why_strength = _strength(profile.num_images)
    transforms: list[dict[str, Any]] = []
    if profile.upright_class is None:
        transforms.append({"_target_": "albumentations.D4", "p": 1.0})
        why_flips = "no class has a place of its own in the image: flips and quarter turns"
    else:
        why_flips = f"{profile.upright_class} has its place in the image: only flipped sideways"
    transforms += _windows(profile, crop, zoom)
    if profile.upright_class is not None:
        transforms.append({"_target_": "albumentations.HorizontalFlip", "p": 0.5})
    reasons = [
        f"{why_strength}: windows at {1 / zoom:.2g} to {zoom:.2g} times their size",
        why_flips,
    ]
    hue = HUE
    if has_brightness_modes(profile):
        transforms.append({"_target_": "albumentations.InvertImg", "p": 0.2})
        reasons.append(
            f"dark and bright images (their mean levels differ by {profile.brightness_spread:.0f})"
            ": some are inverted, and hues differ more"
        )
        hue = HUE_OF_STAINS
    colors = {"brightness": strength, "contrast": strength, "saturation": strength, "hue": hue}
    transforms.append({"_target_": "albumentations.ColorJitter", **colors, "p": 0.5})
    return [Choice("augment.transforms", transforms, "; ".join(reasons))]


def has_brightness_modes(profile: DataProfile) -> bool:
    """Whether some images are dark and others bright, as fluorescence and stained tissue."""
    return profile.brightness_spread > BRIGHTNESS_MODES


def sampling(profile: DataProfile) -> list[Choice]:
    """How often an image is seen: where sizes differ, a crop shows less of a large image."""
    if profile.size_ratio <= SAME_SIZE:
        return []
    reason = (
        f"the largest image has {profile.size_ratio:.2g} times the area of the smallest: with the "
        "root of its area, since a crop shows a small part of it"
    )
    return [Choice("data.area_power", AREA_POWER, reason)]


def _strength(num_images: int) -> tuple[float, float, str]:
    """The largest zoom, the strength of the colours, and the reason."""
    if num_images <= FEW_IMAGES:
        return 1.5, 0.3, f"{num_images} images are few"
    if num_images >= MANY_IMAGES:
        return 1.25, 0.15, f"{num_images} images are many"
    return 1.4, 0.2, f"{num_images} images"


def _windows(profile: DataProfile, crop: Sequence[int], zoom: float) -> list[dict[str, Any]]:
    """Cut a window around the size of the crop, and resize it to the crop."""
    height, width = crop
    shapes_agree = profile.size_ratio <= SAME_SIZE
    image_area = profile.height * profile.width
    if shapes_agree and height * width <= image_area:
        share = height * width / image_area
        scale = [round(share / zoom**2, 3), round(min(share * zoom**2, 1.0), 3)]
        window = {"size": CROP_SIZE, "scale": scale, "ratio": _ratio(crop), "mask_interpolation": 0}
        return [{"_target_": "albumentations.RandomResizedCrop", **window}]
    scale = [round(1 / zoom, 2), zoom]
    return [{"_target_": SCALE_JITTER, "size": CROP_SIZE, "scale": scale, "fit": False}]


def _ratio(crop: Sequence[int]) -> list[float]:
    shape = crop[1] / crop[0]
    return [round(shape * RATIO[0], 3), round(shape * RATIO[1], 3)]
