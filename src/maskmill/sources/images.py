"""Image files of users, decoded strictly.

An image that Pillow cannot decode completely, or that is not exactly representable as 8 bit RGB, is
refused.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from maskmill.canonical.image_header import FORMATS
from maskmill.canonical.limits import require_pixels
from maskmill.canonical.png import RGB, decode_rgb, encode_png
from maskmill.sources.finding import Findings

Image.MAX_IMAGE_PIXELS = None  # `require_pixels` checks the size of each image instead
ORIENTATION = 0x0112  # EXIF tag
BITS_PER_SAMPLE = 258  # TIFF tag
# Modes whose conversion to RGB loses nothing but alpha.
RGB_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "YCbCr"}
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
    _require_file(path)
    file = _read(path.read_bytes(), path, findings, max_pixels)
    return file if file.data else replace(file, data=encode_png(file.rgb))


def decode_photo(data: bytes, name: str, findings: Findings) -> RGB:
    """The pixels of the image that `read_image` would write, from the bytes of the original.

    Args:
        data: a file of one of `FORMATS`.
        name: of the file, for messages.
        findings: receives the warnings of `read_image`.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: see `read_image`.
    """
    file = _read(data, Path(name), findings, None)
    if file.ending == ".jpg":  # training reads it by OpenCV, which may round differently
        return decode_rgb(np.frombuffer(data, np.uint8), name)
    return file.rgb


def _read(data: bytes, path: Path, findings: Findings, max_pixels: int | None) -> ImageFile:
    """The canonical image; without `data` if those of the original are not canonical."""
    image = _decode(data, path, max_pixels)
    if _bits(data, image, path) > 8 or image.mode.startswith(("I", "F")):
        raise ValueError(
            f"{path}: expected 8 bits per channel, but got more ({image.mode}) - "
            "scale the image to 8 bits first"
        )
    if image.mode not in RGB_MODES:
        raise ValueError(
            f"{path}: expected RGB or gray, but got {image.mode} - "
            "convert the image to RGB with its colour profile"
        )
    orientation = _orientation(image, path)
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
    rgb = np.asarray(upright if upright.mode == "RGB" else upright.convert("RGB"))
    isgray = image.mode in {"1", "L", "LA"}
    rotated = orientation >= 5  # 5..8 swap height and width
    if orientation == 1 and image.mode == "RGB" and image.format in {"PNG", "JPEG"}:
        ending = ".png" if image.format == "PNG" else ".jpg"
        return ImageFile(rgb, data, ending, isgray, rotated)
    return ImageFile(rgb, b"", ".png", isgray, rotated)


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
    _require_file(path)
    image = _decode(path.read_bytes(), path, None)
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
    _require_file(path)
    data = path.read_bytes()
    image = _decode(data, path, None)
    if image.mode != "RGB" or _bits(data, image, path) > 8:
        raise ValueError(
            f"{path}: expected ids in 8 bit RGB, but got {image.mode} - "
            "encode each id as R + 256 G + 65536 B"
        )
    return np.asarray(image)


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of the upright image, from the header of its file alone.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not an image, or too large.
    """
    _require_file(path)
    with path.open("rb") as file:
        image = _open(file, path)
        rotated = _orientation(image, path) >= 5  # 5..8 swap height and width
    width, height = image.size
    return (width, height) if rotated else (height, width)


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


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected an image, but there is no such file - "
            "either add it or remove it from the list"
        )


def _decode(data: bytes, path: Path, max_pixels: int | None) -> Image.Image:
    """The decoded image of a file's bytes; `path` names it in messages."""
    image = _open(io.BytesIO(data), path)
    width, height = image.size
    if max_pixels is not None and width * height > max_pixels:
        raise ValueError(
            f"{path}: expected at most {max_pixels:,} pixels, but got {width} x {height} (width x "
            "height) - either cut the image into tiles or raise prepare.max_pixels"
        )
    with _damage_explained(path):
        num_frames = getattr(image, "n_frames", 1)
    if num_frames > 1 and image.format != "MPO":  # MPO: a JPEG with previews
        raise ValueError(
            f"{path}: expected one picture, but the file contains {num_frames} - "
            "save one picture per file"
        )
    with _damage_explained(path):
        image.load()
    return image


def _open(file: BinaryIO, path: Path) -> Image.Image:
    """An image of which only the header is decoded, and whose size is checked."""
    try:
        with _damage_explained(path):
            image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError as error:
        num_bytes = file.seek(0, io.SEEK_END)
        raise ValueError(
            f"{path}: expected an image, but its {num_bytes} bytes are of no known format - "
            "replace the file"
        ) from error
    width, height = image.size
    require_pixels(height, width, str(path))
    return image


@contextmanager
def _damage_explained(path: Path) -> Iterator[None]:
    """Pillow raises any exception that a damaged field causes."""
    try:
        yield
    except (UnidentifiedImageError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(
            f"{path}: expected a complete image, but it is truncated or damaged ({error}) - "
            "replace the file"
        ) from error


def _orientation(image: Image.Image, path: Path) -> int:
    """The orientation in the EXIF data: 1 is upright, 2 to 8 are rotated or mirrored."""
    with _damage_explained(path):
        orientation = image.getexif().get(ORIENTATION, 1)
    return orientation if orientation in range(1, 9) else 1


def _bits(data: bytes, image: Image.Image, path: Path) -> int:
    """Bits per channel in the file, which Pillow's mode does not show for 16 bit RGB."""
    if image.format == "PNG":
        return data[24]  # IHDR: width, height, bit depth
    if image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        with _damage_explained(path):
            return int(max(tags.get(BITS_PER_SAMPLE, (8,))))
    return 8
