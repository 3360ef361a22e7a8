"""Image files of strangers, decoded strictly: what Pillow cannot read to the end, or we cannot turn into 8 bit RGB exactly, is refused."""

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from maskmill.canonical.png import RGB, encode_png
from maskmill.sources.finding import Findings

MAX_PIXELS = 80_000_000  # above it Pillow itself warns of decompression bombs
ORIENTATION, BITS_PER_SAMPLE = 0x0112, 258  # EXIF and TIFF tags
AS_RGB = {
    "1",
    "L",
    "LA",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "YCbCr",
}  # modes whose way to RGB loses nothing but alpha
AS_LABELS = {"1", "L", "P", "I", "I;16", "I;16L", "I;16B"}  # one channel of whole numbers


@dataclass(frozen=True)
class ImageFile:
    """An image made canonical: upright `rgb` (H, W, 3) uint8, and the file that holds it, `data` with its `ending`.

    `isgray`: the file had one channel; `turned`: an EXIF tag laid it on its side, so height and width changed places.
    """

    rgb: RGB
    data: bytes
    ending: str
    isgray: bool = False
    turned: bool = False


def read_image(path: Path, findings: Findings, *, max_pixels: int = MAX_PIXELS) -> ImageFile:
    """Read an image as upright 8 bit RGB; alpha is dropped, gray becomes RGB.

    Args:
        path: a file of any format Pillow reads.
        findings: gets what is odd about it: turned by its EXIF tag, or transparent.
        max_pixels: larger images are refused unread.

    Returns:
        the pixels; and the very bytes of the file where it is a PNG or JPEG that already is so, else those of a new PNG.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does not decode to the end, is too large, holds several pictures, or has 16 bits, CMYK or other colours.
    """
    data, image = _decode(path, max_pixels)
    if _bits(data, image) > 8 or image.mode.startswith(("I", "F")):
        raise ValueError(
            f"{path}: expected 8 bits a channel, but got more ({image.mode}) - scale the image to 8 bits first"
        )
    if image.mode not in AS_RGB:
        raise ValueError(
            f"{path}: expected RGB or gray, but got {image.mode} - convert the image to RGB with its colour profile"
        )
    orientation = image.getexif().get(ORIENTATION, 1)
    if orientation != 1:
        findings.warn(
            path,
            f"expected an upright image, but its EXIF tag turns it (orientation {orientation}); it is turned, its labels are not",
            "check that the labels were drawn on the upright image, and save it upright without the tag",
        )
    _find_transparency(image, path, findings)
    upright = image if orientation == 1 else ImageOps.exif_transpose(image)
    rgb = np.asarray(upright if upright.mode == "RGB" else upright.convert("RGB"))
    facts = {"isgray": image.mode in {"1", "L", "LA"}, "turned": orientation >= 5}
    if orientation == 1 and image.mode == "RGB" and image.format in {"PNG", "JPEG"}:
        return ImageFile(rgb, data, ".png" if image.format == "PNG" else ".jpg", **facts)
    return ImageFile(rgb, encode_png(rgb), ".png", **facts)


def _find_transparency(image: Image.Image, path: Path, findings: Findings) -> None:
    """Report pixels that are not opaque, whose colour nobody saw when the image was labelled."""
    if not image.has_transparency_data:
        return
    alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    share = float((alpha < 255).mean())
    if share > 0:
        findings.warn(
            path,
            f"expected an opaque image, but {share:.1%} of its pixels are transparent; the colours below them are used",
            "save it without an alpha channel",
        )


def read_label_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.int32]:
    """Read a label image, (H, W) int32: a gray one's values, or a palette's indices.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does not decode to the end, is too large, or has several channels.
    """
    _, image = _decode(path, max_pixels)
    if image.mode not in AS_LABELS:
        raise ValueError(
            f"{path}: expected one channel of labels, but got {image.mode} - save class ids as a gray or palette PNG"
        )
    return np.asarray(image).astype(np.int32)


def read_label_colors(path: Path, *, max_pixels: int = MAX_PIXELS) -> RGB:
    """Read labels spelled as colours, (H, W, 3) uint8.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does not decode to the end, is too large, or is not 8 bit RGB.
    """
    data, image = _decode(path, max_pixels)
    if image.mode != "RGB" or _bits(data, image) > 8:
        raise ValueError(
            f"{path}: expected ids in 8 bit RGB, but got {image.mode} - spell each id as R + 256 G + 65536 B"
        )
    return np.asarray(image)


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image turned upright, from its header alone.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no image.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected an image here, but there is no such file - add it or take it off the list"
        )
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(ORIENTATION, 1) >= 5  # 5..8 lie on their side
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(
            f"{path}: expected an image, but it does not open ({error}) - replace the file"
        ) from error
    return (width, height) if turned else (height, width)


def require_size(
    labels: tuple[int, ...], image: tuple[int, ...], where: Path, *, turned: bool = False
) -> None:
    """Check that labels are as large as their image, which was `turned` or not.

    Raises:
        ValueError: they are not.
    """
    if turned and labels[:2] == (image[1], image[0]):
        raise ValueError(
            f"{where}: expected labels of {image[0]} x {image[1]} pixels (height x width) as the upright image has, but they were drawn "
            "on the image as it lies in the file, before its EXIF tag turns it - turn the labels too, or remove the tag"
        )
    if labels[:2] != image[:2]:
        raise ValueError(
            f"{where}: expected labels of {image[0]} x {image[1]} pixels (height x width) as the upright image has, "
            f"but got {labels[0]} x {labels[1]} - export them again at the image's size"
        )


def _decode(path: Path, max_pixels: int) -> tuple[bytes, Image.Image]:
    """The bytes of a file and all its pixels."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected an image here, but there is no such file - add it or take it off the list"
        )
    data = path.read_bytes()
    try:
        image = Image.open(io.BytesIO(data))
        width, height = image.size
        if width * height > max_pixels:
            raise ValueError(
                f"{path}: expected at most {max_pixels:,} pixels, but got {width} x {height} - cut it up or raise the limit"
            )
        num_frames = getattr(image, "n_frames", 1)
        if num_frames > 1 and image.format != "MPO":  # MPO: a JPEG with previews
            raise ValueError(
                f"{path}: expected one picture, but the file holds {num_frames} - save the one that is labelled"
            )
        image.load()
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{path}: expected at most {max_pixels:,} pixels, but {error} - cut the image up"
        ) from error
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{path}: expected an image, but its {len(data)} bytes are of no known format - replace the file"
        ) from error
    except (OSError, SyntaxError, EOFError, struct.error, zlib.error) as error:
        raise ValueError(
            f"{path}: expected a whole image, but it is cut short or damaged ({error}) - replace the file"
        ) from error
    return data, image


def _bits(data: bytes, image: Image.Image) -> int:
    """Bits a channel in the file, which Pillow's mode hides for 16 bit RGB."""
    if image.format == "PNG":
        return data[24]  # IHDR: width, height, bit depth
    tags = getattr(image, "tag_v2", {})
    return max(tags.get(BITS_PER_SAMPLE, (8,))) if image.format == "TIFF" else 8
