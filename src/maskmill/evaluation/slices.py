"""Parts of a data set that people ask about: crowded images, dark ones, small objects, and whatever tags name."""

import csv
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed

from maskmill.canonical.files import inside
from maskmill.canonical.folder import ImageRecord
from maskmill.canonical.png import read_gray

log = logging.getLogger(__name__)

CROWDING = (0, 1, 5, 10, 20)  # true objects of an image: where each slice begins
MAX_VALUES = 50  # of a tag: more slices nobody reads
CHUNK = 32  # images per task


@dataclass(frozen=True)
class Slicing:
    """A way to cut the images into parts: each image is in one.

    Args:
        name: as "crowding".
        part: (N,) the part each image is in.
        order: the parts, as they are to be shown.
    """

    name: str
    part: tuple[str, ...]
    order: tuple[str, ...]

    def places(self) -> dict[str, npt.NDArray[np.int64]]:
        """The images of each part; parts without an image are left out."""
        part = np.array(self.part)
        places = {name: np.flatnonzero(part == name) for name in self.order}
        return {name: found for name, found in places.items() if len(found)}


def by_crowding(num_objects: npt.NDArray[np.int64]) -> Slicing:
    """By the number of true objects in the image, (N,): none, 1-4, 5-9, 10-19, 20 and more."""
    names = [_span(low, high) for low, high in zip(CROWDING, [*CROWDING[1:], None], strict=True)]
    part = np.searchsorted(CROWDING, num_objects, side="right") - 1
    return Slicing("crowding", tuple(names[place] for place in part.tolist()), tuple(names))


def _span(low: int, high: int | None) -> str:
    if high is None:
        return f"{low} objects or more"
    return f"{low} objects" if high == low + 1 else f"{low}-{high - 1} objects"


def by_brightness(luma: npt.NDArray[np.float64]) -> Slicing | None:
    """By mean luma (N,), 0..255, in thirds of the images that have one; None where none has. NaN: the image is not at hand."""
    seen = ~np.isnan(luma)
    if not seen.any():
        return None
    low, high = np.quantile(luma[seen], [1 / 3, 2 / 3])
    names = (
        f"dark, luma below {low:.0f}",
        f"medium, luma {low:.0f}-{high:.0f}",
        f"bright, luma above {high:.0f}",
    )
    part = [
        names[int(value >= low) + int(value > high)] if known else "no image"
        for value, known in zip(luma, seen, strict=True)
    ]
    return Slicing("brightness", tuple(part), (*names, "no image"))


def mean_luma(
    folder: Path, records: Sequence[ImageRecord], *, workers: int = 1
) -> npt.NDArray[np.float64]:
    """Mean luma of each image (ITU-R BT.601), (N,) 0..255; NaN where the folder does not have it.

    Raises:
        ValueError: a file is no image.
    """
    chunks = [records[start : start + CHUNK] for start in range(0, len(records), CHUNK)]
    done = Parallel(n_jobs=workers)(delayed(_luma)(folder, chunk) for chunk in chunks)
    return np.array([value for part in done for value in part], np.float64)


def _luma(folder: Path, records: Sequence[ImageRecord]) -> list[float]:
    paths = [inside(folder, record.file_name) for record in records]
    return [float(read_gray(path).mean()) if path.is_file() else float("nan") for path in paths]


def read_tags(path: Path, images: Sequence[str]) -> list[Slicing]:
    """Read slices of the user's own.

    Args:
        path: a CSV file with the header `image,<tag>[,<tag>...]` and a row per image; an empty cell is no tag.
        images: the names of the images, N.

    Returns:
        a slicing per column; images without a row are "untagged", and named in a warning.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the header is another, a row names an unknown image or one a second time, or a column has too many values.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected a CSV file of tags, but there is none - check `evaluate.tags`"
        )
    with path.open(
        newline="", encoding="utf-8-sig"
    ) as file:  # spreadsheets write a byte order mark
        header, *lines = list(csv.reader(file)) or [[]]
    lines = [line for line in lines if line]
    if len(header) < 2 or header[0] != "image" or len(set(header)) < len(header) or not all(header):
        raise ValueError(
            f"{path}: expected the header image,<tag>[,<tag>...] with different names, but got {','.join(header)!r} - mend it"
        )
    uneven = [number for number, line in enumerate(lines, start=2) if len(line) != len(header)]
    if uneven:
        raise ValueError(
            f"{path}: expected {len(header)} cells in each row, but row {uneven[0]} has another number - mend the row"
        )
    rows = {line[0]: line[1:] for line in lines}
    unknown = sorted(rows.keys() - set(images))
    if unknown:
        raise ValueError(
            f"{path}: expected names of evaluated images, as {images[0]!r}, but {unknown[:5]} are not among them - mend or drop the rows"
        )
    if len(rows) < len(lines):
        raise ValueError(
            f"{path}: expected each image once, but some stand twice - keep one row of each"
        )
    without = [name for name in images if name not in rows]
    if without:
        log.warning(
            "%s: %d of %d images have no row and are untagged: %s",
            path,
            len(without),
            len(images),
            _listed(without),
        )
    return [_tagged(path, tag, place, rows, images) for place, tag in enumerate(header[1:])]


def _tagged(
    path: Path, tag: str, place: int, rows: Mapping[str, Sequence[str]], images: Sequence[str]
) -> Slicing:
    part = tuple(rows[name][place] or "untagged" if name in rows else "untagged" for name in images)
    values = sorted(set(part) - {"untagged"})
    if len(values) > MAX_VALUES:
        raise ValueError(
            f"{path}: expected at most {MAX_VALUES} values of tag {tag!r}, but got {len(values)} - group them, as numbers into ranges"
        )
    return Slicing(tag, part, (*values, "untagged"))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
