"""The pictures of a page as data URIs: a browser fetches nothing."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import inside
from maskmill.canonical.folder import ImageRecord
from maskmill.canonical.panoptic import VOID_CATEGORY, Panoptic
from maskmill.canonical.png import RGB, encode_png, read_rgb
from maskmill.reporting.drawing import draw_contours

PHOTOGRAPH = "photograph"
GRAY = 128  # stands in for a missing image, and marks ignored pixels in error maps
SIDE = 640  # px of a picture's longer side: a page of eight examples stays at a few MB
MIN_NUMBERED_AREA = 0.008  # of the picture; smaller segments have no room for their number
HIGHLIGHT = (255, 221, 51)  # wrong pixels and outlines: lightness alone sets it off from dark
# Each channel of the image below an error map is the mean of all three, darkened.
DARKENED_MEAN = np.full((3, 3), 0.4 / 3, dtype=np.float32)
FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_SCALE = 0.75
# Labels need colours at full resolution, so that borders are sharp; a photograph does not.
JPEG_OPTIONS = [
    *(cv2.IMWRITE_JPEG_QUALITY, 85),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
]
PHOTOGRAPH_OPTIONS = [
    *(cv2.IMWRITE_JPEG_QUALITY, 80),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420),
]
PAGE_OPTIONS = [
    *(cv2.IMWRITE_JPEG_QUALITY, 75),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
]
Uint8 = npt.NDArray[np.uint8]
Size = tuple[int, int]  # width, height in px, as in OpenCV


def encode_png_uri(rgb: RGB) -> str:
    """The data URI of an image (H, W, 3) uint8 as PNG."""
    return _data_uri("image/png", encode_png(rgb))


def encode_jpegs(drawings: Mapping[str, RGB]) -> dict[str, str]:
    """The data URIs of pictures (H, W, 3) uint8 as JPEG, by name."""
    uris = {}
    for name, rgb in drawings.items():
        options = PHOTOGRAPH_OPTIONS if name == PHOTOGRAPH else PAGE_OPTIONS
        uris[name] = _data_uri("image/jpeg", jpeg_bytes(rgb, options))
    return uris


def jpeg_bytes(rgb: RGB, options: Sequence[int] = JPEG_OPTIONS) -> bytes:
    """An image (H, W, 3) uint8 as JPEG, a sixth of a PNG's size."""
    bgr = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, list(options))
    assert done, f"OpenCV could not encode an image of shape {rgb.shape}"
    return data.tobytes()


def _data_uri(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def find_image(folder: Path, record: ImageRecord) -> RGB:
    """The image of a record; gray of the same size if the folder does not contain it.

    Raises:
        ValueError: the image does not decode, or has another size than its labels.
    """
    path = inside(folder, record.file_name)
    if not path.is_file():
        return np.full((record.height, record.width, 3), GRAY, np.uint8)
    image = read_rgb(path)
    height, width = image.shape[:2]
    if (height, width) != (record.height, record.width):
        raise ValueError(
            f"{path}: expected {record.height} x {record.width} pixels like its labels, "
            f"but got {height} x {width} - set `evaluate.images` to the folder of the labelled "
            "images"
        )
    return image


def resize_image(
    image: Uint8, size: Size, *, shrink: int = cv2.INTER_AREA, enlarge: int = cv2.INTER_NEAREST
) -> Uint8:
    """An image (H, W) or (H, W, 3) in another size, by OpenCV's interpolation methods."""
    shrinks = size[0] < image.shape[1] or size[1] < image.shape[0]
    method = shrink if shrinks else enlarge
    return cv2.resize(image, size, interpolation=method).astype(np.uint8, copy=False)


def draw_example(
    image: RGB,
    target: Panoptic,
    pred: Panoptic,
    categories: Categories,
    *,
    background: bool,
    baseline: Panoptic | None = None,
) -> dict[str, str]:
    """The pictures of an example as data URIs by name: photograph, contours, and an error map.

    Args:
        image: (H, W, 3) uint8 RGB.
        target: ground truth of the same size.
        pred: prediction of the same size.
        categories: their colours, and numbers 1..K that identify classes without colour.
        background: unlabelled ground-truth pixels count as a class of their own.
        baseline: another prediction, shown in place of the error map.
    """
    size = _picture_size(target)
    # Labels are resized before they are drawn, so that borders and numbers are sharp.
    image = resize_image(image, size)
    target = resize_labels(target, size)
    pred = resize_labels(pred, size)
    drawings = {
        PHOTOGRAPH: image,
        "ground truth": _draw_numbered(image, target, categories),
        "prediction": _draw_numbered(image, pred, categories),
    }
    if baseline is None:
        classes = target.category_map(), pred.category_map()
        drawings["errors"] = draw_error_map(image, *classes, background=background)
    else:
        baseline = resize_labels(baseline, size)
        drawings["baseline"] = _draw_numbered(image, baseline, categories)
    return encode_jpegs(drawings)


def draw_error_map(
    image: RGB, target: npt.NDArray[np.int32], pred: npt.NDArray[np.int32], *, background: bool
) -> RGB:
    """The darkened image; pixels of a wrong class are bright, ignored pixels are gray.

    Args:
        image: (H, W, 3) uint8 RGB.
        target: category ids (H, W) of the ground truth, -1 where unlabelled.
        pred: category ids (H, W) of the prediction, -1 where unlabelled.
        background: unlabelled ground-truth pixels are not ignored.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    drawn = cv2.transform(image, DARKENED_MEAN).astype(np.uint8, copy=False)
    drawn[target != pred] = HIGHLIGHT
    if not background:
        drawn[target == VOID_CATEGORY] = GRAY
    return drawn


def _picture_size(panoptic: Panoptic) -> Size:
    """`SIDE` for the longer side; small images are enlarged by a whole factor."""
    height, width = panoptic.size
    longer = max(height, width)
    factor = SIDE / longer if longer > SIDE else SIDE // longer
    return max(1, round(width * factor)), max(1, round(height * factor))


def resize_labels(panoptic: Panoptic, size: Size) -> Panoptic:
    """Labels in another size; segments without a pixel are left out."""
    if (size[1], size[0]) == panoptic.size:
        return panoptic
    return Panoptic.from_ids(resize_ids(panoptic.ids, size), panoptic.category_of)


def resize_ids(ids: npt.NDArray[np.int32], size: Size) -> npt.NDArray[np.int32]:
    """Ids (H, W) in another size."""
    # OpenCV resizes float32, which represents every segment id, up to 2**24, exactly.
    resized = cv2.resize(ids.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
    return resized.astype(np.int32)


def _draw_numbered(image: RGB, panoptic: Panoptic, categories: Categories) -> RGB:
    """The contours, with the number of its class where each large segment is widest."""
    drawn = draw_contours(image, panoptic, categories)
    numbers = np.zeros(panoptic.size, np.uint8)
    for segment in panoptic.segments:
        if segment.area < MIN_NUMBERED_AREA * panoptic.ids.size:
            continue
        x, y, width, height = segment.bbox
        mask = (panoptic.ids[y : y + height, x : x + width] == segment.id).view(np.uint8)
        padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
        depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
        row, column = np.unravel_index(int(np.argmax(depth)), depth.shape)
        number = str(categories.index[segment.category_id] + 1)
        _write_centered(numbers, number, x + int(column), y + int(row))
    # White with a black outline is readable on any colour. OpenCV 5 ignores the thickness of its
    # letters, by which one would draw the outline.
    outline = cv2.dilate(numbers, np.ones((5, 5), np.uint8))
    pixels = drawn.reshape(-1, 3)
    for gray, mask in ((0, outline), (255, numbers)):
        inked = np.flatnonzero(mask)
        alpha = mask.reshape(-1, 1)[inked] / np.float32(255)
        pixels[inked] = np.rint((1 - alpha) * pixels[inked] + alpha * gray)
    return drawn


def _write_centered(canvas: Uint8, text: str, x: int, y: int) -> None:
    """Write text with its centre at a pixel of a canvas (H, W)."""
    (width, height), _ = cv2.getTextSize(text, FONT, FONT_SCALE, 2)
    corner = (x - width // 2, y + height // 2)
    cv2.putText(canvas, text, corner, FONT, FONT_SCALE, 255, 2, cv2.LINE_AA)
