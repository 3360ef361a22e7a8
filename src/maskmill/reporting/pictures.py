"""The pictures of a report, as data URIs: nothing is fetched when it is opened."""

import base64
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.folder import ImageRecord, PanopticFolder
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import RGB, encode_png, read_rgb
from maskmill.reporting.drawing import overlay

GRAY = 128  # ground for labels whose image is not at hand
MAX_NUMBERED = 16  # a confusion matrix of more classes is drawn without numbers in its cells


def data_uri(png: bytes) -> str:
    """PNG bytes as an address a page can hold itself."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def triptych(folder: PanopticFolder, images: Path | None, record: ImageRecord, pred: Panoptic) -> list[str]:
    """Image, truth and prediction of one record, each a data URI; gray stands for an image that is not there."""
    image = _image(images or folder.image_folder, record)
    truth = folder.panoptic(record.id)
    views = [image, overlay(image, truth, folder.categories), overlay(image, pred, folder.categories)]
    return [data_uri(encode_png(view)) for view in views]


def _image(folder: Path, record: ImageRecord) -> RGB:
    path = folder / record.file_name
    return read_rgb(path) if path.is_file() else np.full((record.height, record.width, 3), GRAY, np.uint8)


def confusion_picture(matrix: npt.NDArray[np.int64], categories: Categories, *, last: str) -> str:
    """The confusion matrix, each row in percent of its target's pixels, as a data URI.

    Args:
        matrix: (K + 1, K + 1) pixels, target in rows.
        categories: names of the first K.
        last: name of the last row and column; a last row without pixels is left out.
    """
    from matplotlib.figure import Figure  # slow to import, and only reports need it

    occurs = np.append((matrix.sum(axis=0) + matrix.sum(axis=1))[:-1] > 0, True)
    kept = matrix[occurs][:, occurs]
    names = [name for name, keep in zip([*(category.name for category in categories), last], occurs, strict=True) if keep]
    share = 100 * kept / np.maximum(kept.sum(axis=1, keepdims=True), 1)
    side = max(3.6, 0.42 * len(names) + 1.6)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="cividis", vmin=0, vmax=100)  # cividis reads the same for the colour-blind
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    if len(names) <= MAX_NUMBERED:
        for (row, column), value in np.ndenumerate(share):
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color="black" if value > 55 else "white")
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=130)
    return data_uri(png.getvalue())
