"""Changes of an image as cameras, weather and transmission make them; labels stay valid.

After Hendrycks and Dietterich, ICLR 2019 (arXiv:1903.12261).
"""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.canonical.png import RGB

SEED = 0


def _scaled(factor: float, offset: float = 0.0) -> Callable[[RGB], RGB]:
    """Brightness: values times a factor plus an offset."""

    def change(image: RGB) -> RGB:
        return _rounded(image * np.float32(factor) + np.float32(offset))

    return change


def _contrast(factor: float) -> Callable[[RGB], RGB]:
    def change(image: RGB) -> RGB:
        mean = image.mean(axis=(0, 1), dtype=np.float32)
        return _rounded((image - mean) * np.float32(factor) + mean)

    return change


def _blurred(sigma: float) -> Callable[[RGB], RGB]:
    def change(image: RGB) -> RGB:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.uint8)

    return change


def _noisy(std: float) -> Callable[[RGB], RGB]:
    def change(image: RGB) -> RGB:
        noise = np.random.default_rng(SEED).normal(0, std, image.shape).astype(np.float32)
        return _rounded(image + noise)

    return change


def _tinted(red: float, blue: float) -> Callable[[RGB], RGB]:
    def change(image: RGB) -> RGB:
        return _rounded(image.astype(np.float32) * np.array([red, 1, blue], np.float32))

    return change


def _rounded(values: npt.NDArray[np.float32]) -> RGB:
    rounded: RGB = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


SHIFTS: dict[str, Callable[[RGB], RGB]] = {
    "none": lambda image: image,
    "darker": _scaled(0.7),
    "dark": _scaled(0.4),
    "brighter": _scaled(1.3),
    "fog": _scaled(0.5, 110),
    "contrast": _contrast(0.5),
    "blur 1": _blurred(1.0),
    "blur 2": _blurred(2.0),
    "noise 10": _noisy(10),
    "noise 25": _noisy(25),
    "evening": _tinted(1.25, 0.75),
    "cold": _tinted(0.75, 1.25),
}
