"""Image files to arrays and back, and the COCO encoding of ids as colours."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.canonical.files import write_bytes
from maskmill.canonical.image_header import claims_too_much, header_size
from maskmill.canonical.limits import require_pixels
from maskmill.canonical.panoptic import MAX_ID
from maskmill.canonical.plain_png import plain_rgb

RGB = npt.NDArray[np.uint8]
PHOTO = (cv2.IMWRITE_PNG_COMPRESSION, 4)
# Runs of one value need no filter. Without one, encoding takes two thirds and decoding less than
# half of the time; the size changes by -7 to +31 % (CamVid, COCO).
LABELS = (cv2.IMWRITE_PNG_COMPRESSION, 6, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE)
MAX_UINT8 = 255
NO_MEMORY = -4  # OpenCV's code of an allocation that failed
MAX_UINT16 = 65_535


def ids_to_rgb(ids: npt.NDArray[np.int32]) -> RGB:
    """Encode ids (H, W), 0..2**24 - 1, as colours (H, W, 3) uint8: id = R + 256 G + 256**2 B.

    Example:
        >>> ids_to_rgb(np.array([[5, 256]], np.int32))
        array([[[5, 0, 0],
                [0, 1, 0]]], dtype=uint8)
    """
    little_endian = np.ascontiguousarray(ids, dtype="<i4")
    rgba = little_endian.view(np.uint8).reshape(*ids.shape, 4)
    # OpenCV drops the fourth byte many times faster than numpy.
    return cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB).astype(np.uint8, copy=False)


def rgb_to_ids(rgb: RGB) -> npt.NDArray[np.int32]:
    """Decode ids (H, W) int32 from colours (H, W, 3) uint8: id = R + 256 G + 256**2 B."""
    return _decode_colors(np.ascontiguousarray(rgb), cv2.COLOR_RGB2RGBA)


def _decode_colors(colors: RGB, code: int) -> npt.NDArray[np.int32]:
    """Ids of colours whose rows are contiguous, which `code` converts to RGBA.

    OpenCV adds the fourth byte many times faster than numpy.
    """
    ids = cv2.cvtColor(colors, code).view("<i4")[..., 0]
    ids &= MAX_ID  # removes the alpha of 255 that OpenCV adds
    return ids.astype(np.int32, copy=False)


def _read_bytes(path: Path) -> npt.NDArray[np.uint8]:
    """The bytes of an image file.

    Raises:
        FileNotFoundError: the file does not exist.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected an image here, but there is none - "
            "either check the path or run `dvc repro prepare`"
        )
    return np.fromfile(path, dtype=np.uint8)


def decode(data: npt.NDArray[np.uint8], flags: int, name: str) -> npt.NDArray[Any]:
    """Decode the bytes of an image file with OpenCV; `name` is the file's name in messages.

    Raises:
        ValueError: the bytes are not an image, are truncated, or are one of more pixels than
            MASKMILL_MAX_PIXELS.
        MemoryError: there is no memory for the pixels.
    """
    height, width = _require_size(data, name)
    if claims_too_much(data):
        raise ValueError(_undecodable(data, name))
    try:
        array = cv2.imdecode(data, flags)
    except cv2.error as error:
        if error.code == NO_MEMORY:
            raise MemoryError(
                f"{name}: {height} x {width} pixels do not fit into memory"
            ) from error
        raise ValueError(_undecodable(data, name)) from error
    if array is None:
        raise ValueError(_undecodable(data, name))
    return array


def _require_size(data: npt.NDArray[np.uint8], name: str) -> tuple[int, int]:
    """Height and width in the header, if they are not too large."""
    try:
        height, width = header_size(data)
    except ValueError as error:
        raise ValueError(_undecodable(data, name)) from error
    require_pixels(height, width, name)
    return height, width


def _undecodable(data: npt.NDArray[np.uint8], name: str) -> str:
    return f"{name}: expected an image, but its {data.size} bytes do not decode - replace the file"


def decode_rgb(data: npt.NDArray[np.uint8], name: str) -> RGB:
    """Decode an image file's bytes to (H, W, 3) uint8 RGB, rotated by its EXIF orientation."""
    return decode(data, cv2.IMREAD_COLOR_RGB, name).astype(np.uint8, copy=False)


def read_rgb(path: Path) -> RGB:
    """Read an image file as (H, W, 3) uint8 RGB, rotated by its EXIF orientation."""
    return decode_rgb(_read_bytes(path), str(path))


def read_gray(path: Path) -> npt.NDArray[np.uint8]:
    """Read an image file as its luma (H, W) uint8 (ITU-R BT.601)."""
    return decode(_read_bytes(path), cv2.IMREAD_GRAYSCALE, str(path)).astype(np.uint8, copy=False)


def read_labels(path: Path) -> npt.NDArray[np.int32]:
    """Read a single-channel 8-bit or 16-bit PNG as (H, W) int32.

    Raises:
        ValueError: the file has several channels.
    """
    array = decode(_read_bytes(path), cv2.IMREAD_UNCHANGED, str(path))
    if array.ndim != 2:
        raise ValueError(
            f"{path}: expected one channel of labels, but got an array of shape {array.shape} - "
            "save it as a gray PNG"
        )
    return array.astype(np.int32)


def decode_ids(data: npt.NDArray[np.uint8], name: str) -> npt.NDArray[np.int32]:
    """Decode a COCO panoptic PNG's bytes to ids (H, W) int32.

    Raises:
        ValueError: the bytes are not an 8-bit RGB image.
    """
    _require_size(data, name)
    rgb = plain_rgb(data)
    if rgb is not None:
        return _decode_colors(rgb, cv2.COLOR_RGB2RGBA)
    array = decode(data, cv2.IMREAD_UNCHANGED, name)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ValueError(
            f"{name}: expected an 8-bit RGB PNG of panoptic ids, but got shape {array.shape} of "
            f"{array.dtype} - encode each id as R + 256 G + 65536 B"
        )
    return _decode_colors(array.astype(np.uint8, copy=False), cv2.COLOR_BGR2RGBA)


def read_ids(path: Path) -> npt.NDArray[np.int32]:
    """Read a COCO panoptic PNG as ids (H, W) int32.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not an 8-bit RGB image.
    """
    return decode_ids(_read_bytes(path), str(path))


def encode_png(array: npt.NDArray[Any], settings: Sequence[int] = PHOTO) -> bytes:
    """Encode an array as PNG bytes.

    Args:
        array: (H, W) uint8 or uint16, or (H, W, 3) uint8 RGB.
        settings: of OpenCV: `PHOTO` or `LABELS`.
    """
    bgr: npt.NDArray[Any] = np.ascontiguousarray(array)
    if array.ndim == 3:  # OpenCV swaps colours many times faster than numpy
        bgr = cv2.cvtColor(bgr, cv2.COLOR_RGB2BGR)
    is_encoded, data = cv2.imencode(".png", bgr, settings)
    assert is_encoded, (
        f"OpenCV could not encode an array of shape {array.shape} and dtype {array.dtype}"
    )
    return data.tobytes()


def write_rgb(path: Path, rgb: RGB) -> Path:
    """Write (H, W, 3) uint8 RGB as PNG, whole or not at all."""
    return write_bytes(path, encode_png(rgb))


def labels_to_png(labels: npt.NDArray[np.integer], name: str) -> bytes:
    """Encode (H, W) values in 0..65535 as a gray PNG of 8 bits if they fit, else of 16 bits.

    Raises:
        ValueError: a value is outside 0..65535; the message begins with `name`.
    """
    low = int(labels.min())
    high = int(labels.max())
    if low < 0 or high > MAX_UINT16:
        raise ValueError(
            f"{name}: expected labels in 0..{MAX_UINT16}, but got {low}..{high} - "
            "renumber the labels, since a gray PNG cannot contain these"
        )
    dtype = np.uint8 if high <= MAX_UINT8 else np.uint16
    return encode_png(labels.astype(dtype), LABELS)


def write_labels(path: Path, labels: npt.NDArray[np.integer]) -> Path:
    """Write the PNG of `labels_to_png`, whole or not at all."""
    return write_bytes(path, labels_to_png(labels, str(path)))


def ids_to_png(ids: npt.NDArray[np.int32]) -> bytes:
    """Encode ids (H, W), 0..2**24 - 1, as a COCO panoptic PNG."""
    return encode_png(ids_to_rgb(ids), LABELS)


def write_ids(path: Path, ids: npt.NDArray[np.int32]) -> Path:
    """Write ids (H, W), 0..2**24 - 1, as a COCO panoptic PNG, whole or not at all."""
    return write_bytes(path, ids_to_png(ids))
