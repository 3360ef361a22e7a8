"""The pictures of a report, as data URIs: nothing is fetched when it is opened."""

import base64
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import inside
from maskmill.canonical.folder import ImageRecord
from maskmill.canonical.panoptic import VOID_CATEGORY, Panoptic
from maskmill.canonical.png import RGB, read_rgb
from maskmill.reporting.drawing import overlay

GRAY = 128  # ground for labels whose image is not at hand; unlabelled pixels among the wrong ones
SIDE = 480  # px of a view's longer side: a page of eight examples stays a few MB
MIN_NUMBERED_AREA = 0.008  # of the view; smaller segments have no room for their number
WRONG = (255, 221, 51)  # bright on dark: told apart by lightness alone


def data_uri(png: bytes) -> str:
    """PNG bytes as an address a page can hold itself."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def picture(rgb: RGB) -> str:
    """An image (H, W, 3) uint8 as an address, a JPEG: a sixth of a PNG's size, colours at full resolution so that borders stay sharp."""
    quality = [
        cv2.IMWRITE_JPEG_QUALITY,
        85,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), quality)
    assert done, f"OpenCV could not encode an image of shape {rgb.shape}"
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode('ascii')}"


def find_image(folder: Path, record: ImageRecord) -> RGB:
    """The image of a record, or gray of its size where the folder does not have it.

    Raises:
        ValueError: the image is there but does not decode, or has another size than its labels.
    """
    path = inside(folder, record.file_name)
    if not path.is_file():
        return np.full((record.height, record.width, 3), GRAY, np.uint8)
    image = read_rgb(path)
    if image.shape[:2] != (record.height, record.width):
        raise ValueError(
            f"{path}: expected {record.height} x {record.width} pixels like its labels, but got {image.shape[0]} x {image.shape[1]} - "
            "name the folder of the labelled images in `evaluate.images`"
        )
    return image


def views(
    image: RGB,
    truth: Panoptic,
    pred: Panoptic,
    categories: Categories,
    *,
    background: bool,
    other: Panoptic | None = None,
) -> dict[str, str]:
    """What one example shows, by name: the image, truth and prediction laid over it, and the pixels of a wrong class, as data URIs.

    Args:
        image: (H, W, 3) uint8 RGB.
        truth: labels of the same size.
        pred: likewise.
        categories: colours, and numbers 1..K that tell classes apart without colour.
        background: unlabelled pixels of the truth count as a class of their own.
        other: a baseline's prediction, which is shown in place of the wrong pixels.
    """
    height, width = truth.size
    # Labels are scaled before they are drawn, so that borders and numbers stay sharp; small images grow by whole factors.
    factor = SIDE / max(height, width) if max(height, width) > SIDE else SIDE // max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    image = cv2.resize(
        image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST
    ).astype(np.uint8, copy=False)
    truth, pred = _resized(truth, size), _resized(pred, size)
    shown = {
        "image": image,
        "truth": _numbered(overlay(image, truth, categories), truth, categories),
        "prediction": _numbered(overlay(image, pred, categories), pred, categories),
    }
    if other is None:
        shown["wrong class"] = wrong_pixels(
            image, truth.category_map(), pred.category_map(), background=background
        )
    else:
        other = _resized(other, size)
        shown["baseline"] = _numbered(overlay(image, other, categories), other, categories)
    return {name: picture(view) for name, view in shown.items()}


def wrong_pixels(
    image: RGB, truth: npt.NDArray[np.int32], pred: npt.NDArray[np.int32], *, background: bool
) -> RGB:
    """The image darkened, its pixels of a wrong class bright, and those that do not count gray.

    Args:
        image: (H, W, 3) uint8 RGB.
        truth: category ids (H, W), -1 where unlabelled.
        pred: likewise.
        background: unlabelled pixels of the truth count.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    dark = image.mean(axis=2, keepdims=True) * np.float64(0.3)
    drawn = np.broadcast_to(np.rint(dark), image.shape).astype(np.uint8)
    drawn[truth != pred] = WRONG
    if not background:
        drawn[truth == VOID_CATEGORY] = GRAY
    return drawn


def _resized(panoptic: Panoptic, size: tuple[int, int]) -> Panoptic:
    # float32 holds segment ids exactly, and OpenCV resizes it: 2**24
    ids = cv2.resize(panoptic.ids.astype(np.float32), size, interpolation=cv2.INTER_NEAREST).astype(
        np.int32
    )
    return Panoptic.from_ids(ids, panoptic.category_of)


def _numbered(drawn: RGB, panoptic: Panoptic, categories: Categories) -> RGB:
    """Write the number of its class where each large segment is widest."""
    canvas = np.ascontiguousarray(drawn)
    for segment in panoptic.segments:
        if segment.area < MIN_NUMBERED_AREA * panoptic.ids.size:
            continue
        x, y, width, height = segment.bbox
        mask = (panoptic.ids[y : y + height, x : x + width] == segment.id).astype(np.uint8)
        depth = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        row, column = np.unravel_index(int(np.argmax(depth)), depth.shape)
        text = str(categories.index[segment.category_id] + 1)
        (text_width, text_height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.75, 2)
        corner = (x + int(column) - text_width // 2, y + int(row) + text_height // 2)
        for color, thickness in ((0, 5), (255, 2)):  # white in a black outline reads on any colour
            cv2.putText(
                canvas,
                text,
                corner,
                cv2.FONT_HERSHEY_SIMPLEX,
                0.75,
                (color,) * 3,
                thickness,
                cv2.LINE_AA,
            )
    return canvas
