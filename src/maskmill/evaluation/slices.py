"""Slices of a data set: crowded images, dark images, small objects, and the user's own tags."""

import csv
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maskmill.canonical.files import inside, read_text
from maskmill.canonical.folder import ImageRecord
from maskmill.canonical.png import read_gray
from maskmill.evaluation.csv_cells import csv_errors
from maskmill.sources.backends import num_workers, results_in_order

log = logging.getLogger(__name__)

CROWDING = (0, 1, 5, 10, 20)  # target objects of an image: where each slice begins
MAX_VALUES = 50  # of a tag: a table of more slices is not readable
MAX_LISTED = 10  # names in a warning
CHUNK = 32  # images per task
UNTAGGED = "untagged"
NO_IMAGE = "no image"


@dataclass(frozen=True)
class Slicing:
    """A division of the images into slices: each image is in one.

    Args:
        name: such as "crowding".
        slice_of: (N,) the slice of each image.
        order: the slices, in the order of display.
    """

    name: str
    slice_of: tuple[str, ...]
    order: tuple[str, ...]

    def indices(self) -> dict[str, npt.NDArray[np.int64]]:
        """The images of each slice; slices without an image are left out."""
        slice_of = np.array(self.slice_of)
        indices = {}
        for name in self.order:
            images = np.flatnonzero(slice_of == name)
            if len(images):
                indices[name] = images
        return indices


def by_crowding(num_objects: npt.NDArray[np.int64]) -> Slicing:
    """Slices by the number of target objects in the image: none, 1-4, 5-9, 10-19, 20 and more.

    Args:
        num_objects: (N,).
    """
    bounds = zip(CROWDING, [*CROWDING[1:], None], strict=True)
    names = [_range_name(low, below) for low, below in bounds]
    slice_index = np.searchsorted(CROWDING, num_objects, side="right") - 1
    slice_of = np.array(names)[slice_index].tolist()
    return Slicing("crowding", tuple(slice_of), tuple(names))


def _range_name(low: int, below: int | None) -> str:
    if below is None:
        return f"{low} objects or more"
    return f"{low} objects" if below == low + 1 else f"{low}-{below - 1} objects"


def by_brightness(luma: npt.NDArray[np.float64]) -> Slicing | None:
    """Slices by mean luma, in thirds of the images that have one; None where no image has one.

    Args:
        luma: (N,) 0..255; NaN where the image is not available.
    """
    known = ~np.isnan(luma)
    if not known.any():
        return None
    low, high = np.quantile(luma[known], [1 / 3, 2 / 3])
    names = (
        f"dark, luma below {low:.0f}",
        f"medium, luma {low:.0f}-{high:.0f}",
        f"bright, luma above {high:.0f}",
        NO_IMAGE,
    )
    third = (luma >= low).astype(int) + (luma > high)  # 0, 1, 2
    slice_index = np.where(known, third, names.index(NO_IMAGE))
    slice_of = np.array(names)[slice_index].tolist()
    return Slicing("brightness", tuple(slice_of), names)


def mean_luma(
    folder: Path, records: Sequence[ImageRecord], *, workers: int = 1
) -> npt.NDArray[np.float64]:
    """Mean luma of each image (ITU-R BT.601), (N,) 0..255; NaN where the folder lacks the image.

    Raises:
        ValueError: a file is not an image.
    """
    chunks = [records[start : start + CHUNK] for start in range(0, len(records), CHUNK)]
    calls = [partial(_luma, folder, chunk) for chunk in chunks]
    done = results_in_order(calls, min(num_workers(workers), len(chunks)))
    luma: list[float] = []
    for values in done:
        luma += values
    return np.array(luma, np.float64)


def _luma(folder: Path, records: Sequence[ImageRecord]) -> list[float]:
    luma = []
    for record in records:
        path = inside(folder, record.file_name)
        luma.append(float(read_gray(path).mean()) if path.is_file() else float("nan"))
    return luma


def read_tags(path: Path, images: Sequence[str]) -> list[Slicing]:
    """Read slicings of the user.

    Args:
        path: a CSV file with the header `image,<tag>[,<tag>...]` and a row per image; an empty cell
            is no tag.
        images: the names of the images, N.

    Returns:
        a slicing per column; images without a row are "untagged", and a warning names them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the header is another, a row names an unknown image or the same one again, or a
            column has too many values.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected a CSV file of tags, but there is none - check `evaluate.tags`"
        )
    with csv_errors(path):
        text = read_text(path, expected="a CSV file of tags")
        lines = list(csv.reader(io.StringIO(text, newline="")))
    header = lines[0] if lines else []
    rows = _tags_by_image(path, header, [line for line in lines[1:] if line], images)
    untagged = [name for name in images if name not in rows]
    if untagged:
        log.warning(
            "%s: %d of %d images have no row and are untagged: %s",
            path,
            len(untagged),
            len(images),
            _list_names(untagged),
        )
    slicings = []
    empty_cells = [""] * len(header)
    for column, tag in enumerate(header[1:]):
        slice_of = []
        for name in images:
            cells = rows.get(name, empty_cells)
            slice_of.append(cells[column] or UNTAGGED)
        slicings.append(_slice_by_tag(path, tag, slice_of))
    return slicings


def _tags_by_image(
    path: Path, header: Sequence[str], lines: Sequence[list[str]], images: Sequence[str]
) -> dict[str, list[str]]:
    """The cells of each image, after checking the table."""
    names_are_valid = all(header) and len(set(header)) == len(header)
    if len(header) < 2 or header[0] != "image" or not names_are_valid:
        raise ValueError(
            f"{path}: expected the header image,<tag>[,<tag>...] with different names, "
            f"but got {','.join(header)!r} - correct the first line"
        )
    rows = {}
    for number, line in enumerate(lines, start=2):
        if len(line) != len(header):
            raise ValueError(
                f"{path}: expected {len(header)} cells in each row, but row {number} has "
                f"{len(line)} - correct the row"
            )
        rows[line[0]] = line[1:]
    unknown = sorted(rows.keys() - set(images))
    if unknown:
        raise ValueError(
            f"{path}: expected names of evaluated images such as {images[0]!r}, "
            f"but {unknown[:5]} are not among them - either correct or remove the rows"
        )
    if len(rows) < len(lines):
        raise ValueError(
            f"{path}: expected each image once, but some are listed twice - keep one row of each"
        )
    return rows


def _slice_by_tag(path: Path, tag: str, slice_of: Sequence[str]) -> Slicing:
    values = sorted(set(slice_of) - {UNTAGGED})
    if len(values) > MAX_VALUES:
        raise ValueError(
            f"{path}: expected at most {MAX_VALUES} values of tag {tag!r}, but got {len(values)} - "
            "group them, for example numbers into ranges"
        )
    return Slicing(tag, tuple(slice_of), (*values, UNTAGGED))


def _list_names(names: Sequence[str]) -> str:
    listed = ", ".join(names[:MAX_LISTED])
    if len(names) <= MAX_LISTED:
        return listed
    return f"{listed} and {len(names) - MAX_LISTED} more"
