"""Image files of users: as upright 8 bit RGB, as labels, or by their headers alone."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from maskmill.canonical.png import RGB, encode_png
from maskmill.sources.finding import Findings
from maskmill.sources.image_decoding import (
    header_orientation,
    load_image,
    num_bits,
    open_image,
    orientation_of,
    require_file,
    require_one_picture,
    require_rgb,
)

ROTATED = 5  # orientations 5..8 swap height and width
LABEL_MODES = {"1", "L", "P", "I", "I;16", "I;16L", "I;16B"}  # one channel of integers


@dataclass(frozen=True)
class ImageFile:
    """A canonical image.

    Args:
        rgb: the upright image, (H, W, 3) uint8.
        data: the content of the canonical file.
        ending: the suffix of that file.
        isgray: whether the original has one channel.
        rotated: whether an EXIF tag swaps height and width of the original.
    """

    rgb: RGB
    data: bytes
    ending: str
    isgray: bool = False
    rotated: bool = False


def read_image(path: Path, findings: Findings, *, max_pixels: int | None = None) -> ImageFile:
    """Read an image as upright 8 bit RGB; alpha is dropped, gray becomes RGB.

    Args:
        path: a file of one of `FORMATS`.
        findings: receives a warning if the image is rotated by its EXIF tag, or transparent.
        max_pixels: larger images are refused before they are decoded; None: only those above
            MASKMILL_MAX_PIXELS are.

    Returns:
        the pixels, and the unchanged bytes of an upright PNG or JPEG in RGB, or those of a new PNG.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file does not decode completely, is too large, contains several pictures,
            or has 16 bits, CMYK or another colour space.
    """
    require_file(path)
    data = path.read_bytes()
    image = load_image(data, path, max_pixels)
    require_rgb(io.BytesIO(data), image, path)
    orientation = orientation_of(image, path)
    rgb = _upright_rgb(image, orientation, path, findings)
    isgray = image.mode in {"1", "L", "LA"}
    rotated = orientation >= ROTATED
    if orientation == 1 and image.mode == "RGB" and image.format in {"PNG", "JPEG"}:
        ending = ".png" if image.format == "PNG" else ".jpg"
        return ImageFile(rgb, data, ending, isgray, rotated)
    return ImageFile(rgb, encode_png(rgb), ".png", isgray, rotated)


def decode_photo(data: bytes, name: str, findings: Findings) -> RGB:
    """The pixels of the image that `read_image` would write, from the bytes of the original.

    The file is decoded once, by Pillow. Training reads the canonical file by OpenCV, whose JPEG
    decoder gives the same pixels; a test compares them.

    Args:
        data: a file of one of `FORMATS`.
        name: of the file, for messages.
        findings: receives the warnings of `read_image`.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: see `read_image`.
    """
    path = Path(name)
    image = load_image(data, path)
    require_rgb(io.BytesIO(data), image, path)
    return _upright_rgb(image, orientation_of(image, path), path, findings)


def image_header(path: Path) -> tuple[int, int]:
    """Height and width of the upright image that `read_image` reads, from its header alone.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: see `read_image`; damage behind the header is not found.
    """
    require_file(path)
    with path.open("rb") as file:
        image = open_image(file, path)
        require_one_picture(image, path)
        require_rgb(file, image, path)
        orientation = header_orientation(file, image, path)
    return _upright_size(image, orientation)


def _upright_rgb(image: Image.Image, orientation: int, path: Path, findings: Findings) -> RGB:
    """The pixels (H, W, 3) uint8 of a decoded image; findings get what was changed."""
    if orientation != 1:
        findings.warn(
            path,
            f"expected an upright image, but its EXIF tag rotates it (orientation {orientation}); "
            "the image is rotated, its labels are not",
            "check that the labels were drawn on the upright image, and save it upright without "
            "the tag",
        )
    _find_transparency(image, path, findings)
    upright = image if orientation == 1 else ImageOps.exif_transpose(image)
    return np.asarray(upright if upright.mode == "RGB" else upright.convert("RGB"))


def _find_transparency(image: Image.Image, path: Path, findings: Findings) -> None:
    """Report pixels that are not opaque: their colour was not visible during labelling."""
    if not image.has_transparency_data:
        return
    alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    share = float((alpha < 255).mean())
    if share > 0:
        findings.warn(
            path,
            f"expected an opaque image, but {share:.1%} of its pixels are transparent; the colours "
            "without alpha are used",
            "save it without an alpha channel",
        )


def read_label_image(path: Path) -> npt.NDArray[np.int32]:
    """Read a label image, (H, W) int32: the values of a gray one, or the indices of a palette.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file does not decode completely, is too large, or has several channels.
    """
    require_file(path)
    image = load_image(path.read_bytes(), path)
    if image.mode not in LABEL_MODES:
        raise ValueError(
            f"{path}: expected one channel of labels, but got {image.mode} - "
            "save class ids as a gray or palette PNG"
        )
    return np.asarray(image).astype(np.int32)


def read_label_colors(path: Path) -> RGB:
    """Read labels that are encoded as colours, (H, W, 3) uint8.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file does not decode completely, is too large, or is not 8 bit RGB.
    """
    require_file(path)
    data = path.read_bytes()
    image = load_image(data, path)
    if image.mode != "RGB" or num_bits(io.BytesIO(data), image, path) > 8:
        raise ValueError(
            f"{path}: expected labels as colours in 8 bit RGB, but got {image.mode} - "
            "save them as an RGB PNG, panoptic ids as R + 256 G + 65536 B"
        )
    return np.asarray(image)


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of the upright image, from the header of its file alone.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not an image, or too large.
    """
    require_file(path)
    with path.open("rb") as file:
        image = open_image(file, path)
        orientation = header_orientation(file, image, path)
    return _upright_size(image, orientation)


def _upright_size(image: Image.Image, orientation: int) -> tuple[int, int]:
    """Height and width after rotation."""
    width, height = image.size
    return (width, height) if orientation >= ROTATED else (height, width)


def require_size(
    labels: tuple[int, ...], image: tuple[int, ...], path: Path, *, rotated: bool = False
) -> None:
    """Check that labels have the size of their image.

    Args:
        labels: height and width of the labels.
        image: height and width of the upright image.
        path: the file of the labels.
        rotated: whether an EXIF tag swaps height and width of the image.

    Raises:
        ValueError: the sizes differ.
    """
    if labels[:2] == image[:2]:
        return
    height, width = image[:2]
    expected = (
        f"{path}: expected labels of {height} x {width} pixels (height x width) like the upright "
        "image"
    )
    if rotated and labels[:2] == (width, height):
        raise ValueError(
            f"{expected}, but they were drawn on the image before its EXIF tag rotates it - "
            "either rotate the labels too or remove the tag"
        )
    raise ValueError(
        f"{expected}, but got {labels[0]} x {labels[1]} - export them again at the image's size"
    )
