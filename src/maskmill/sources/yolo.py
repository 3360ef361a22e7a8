"""Instance data in the text form of YOLO segmentation.

Per image a text file with a line per object: `class x1 y1 x2 y2 ...`; coordinates are shares of
width and height.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import read_text
from maskmill.canonical.panoptic import Panoptic
from maskmill.sources.finding import Finding, Findings
from maskmill.sources.images import image_size
from maskmill.sources.layers import Layer, Overlap, stack
from maskmill.sources.pairs import FolderPairs, list_samples
from maskmill.sources.polygons import Points, Rasterizer, keep_valid_polygons, polygon_mask
from maskmill.sources.source import Sample, Source
from maskmill.sources.splits import Split


@dataclass(frozen=True)
class YoloPart:
    """A folder of images and the folder of their label files, with the splits of the images.

    Args:
        images: the folder of the images, relative to the root.
        labels: the folder of the label files, relative to the root.
        splits: split -> share of the images, assigned by a hash of the name, or a rule of `splits`.
        seed: seed of the hash.
    """

    images: str
    labels: str
    splits: dict[str, float] | Split
    seed: int = 0


class YoloSegments(Source):
    """Images with YOLO segmentation labels; all classes are things, pixels of no object are void.

    Args:
        root: the data set's folder.
        parts: its folders.
        names: class number -> name, from 0.
        unlabelled: whether an image without a label file is one without objects, as usual in this
            form, or an error.
        overlap: which of two objects gets the pixels of both; see `layers.stack`.
        rasterizer: how polygons are filled.

    Raises:
        ValueError: there are no parts.
    """

    def __init__(
        self,
        root: Path,
        parts: Sequence[YoloPart],
        names: Sequence[str] | Mapping[str, str],
        *,
        unlabelled: bool = True,
        overlap: Overlap = "smaller",
        rasterizer: Rasterizer = "coco",
    ) -> None:
        if not parts:
            raise ValueError(
                "Expected at least one part, but got none - add its folders to conf/source"
            )
        self.root = root
        self.parts = tuple(parts)
        self.unlabelled = unlabelled
        self.overlap: Overlap = overlap
        self.rasterizer: Rasterizer = rasterizer
        numbered = names.items() if isinstance(names, Mapping) else enumerate(names)
        rows = [{"id": int(number), "name": name, "isthing": 1} for number, name in numbered]
        self._categories = Categories.from_list(rows)

    @property
    def categories(self) -> Categories:
        """The configured classes."""
        return self._categories

    def samples(self, findings: Findings) -> list[Sample]:
        """The images sorted by name, part by part; see `Source.samples`."""
        pairs = []
        for part in self.parts:
            rule = FolderPairs(
                part.images, part.labels, part.splits, label_ending=".txt", seed=part.seed
            )
            pairs.append(rule)
        return list_samples(pairs, self.root, findings, self.classes_of)

    def classes_of(self, sample: Sample) -> set[int]:
        """The category ids in the first column of the label file."""
        if not sample.labels.is_file():
            return set()
        try:
            lines = read_text(sample.labels).splitlines()
        except ValueError:
            return set()  # the conversion reports the problem
        class_ids: set[int | None] = set()
        for line in lines:
            words = line.split(maxsplit=1)
            if words:
                class_ids.add(_class_index(words[0]))
        return set(self.categories.index) & class_ids

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """The objects on top of each other; see `Source.read`."""
        height, width = image_size(sample.image)
        size = height, width
        layers = []
        errors = []
        for number, line in self._lines(sample):
            try:
                category_id, shares = self._object(line, sample.labels, number)
            except ValueError as error:
                errors.append(Finding.from_error(error, sample.labels))
                continue
            name = f"line {number}"
            with np.errstate(over="ignore"):  # an infinite coordinate becomes a finding
                points = shares * (width, height)
            valid = keep_valid_polygons([points], size, sample.labels, name, findings)
            if valid:
                layers.append(Layer(polygon_mask(valid, size, self.rasterizer), category_id, name))
        findings += errors
        if errors:
            raise ValueError(str(errors[0]))
        return stack(layers, size, self.categories, self.overlap, sample.labels, findings)

    def _lines(self, sample: Sample) -> list[tuple[int, str]]:
        """The lines of a label file that are not empty, each with its number from 1."""
        if not sample.labels.is_file():
            if self.unlabelled:
                return []
            raise FileNotFoundError(
                f"{sample.labels}: expected labels of {sample.image.name}, but there is no such "
                "file - add it"
            )
        lines = read_text(sample.labels, expected="YOLO labels").splitlines()
        return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]

    def _object(self, line: str, path: Path, number: int) -> tuple[int, Points]:
        """The category id and the points, (N, 2) shares of width and height, of a line."""
        words = line.split()
        try:
            float(words[0])
            values = np.array(words[1:], np.float64)
        except ValueError as error:
            raise ValueError(
                f"{path}, line {number}: expected numbers separated by blanks, but got "
                f"{line[:60]!r} - export it again"
            ) from error
        category_id = _class_index(words[0])
        if category_id is None:
            raise ValueError(
                f"{path}, line {number}: expected a class index as a whole number, but got "
                f"{words[0][:30]} - export it again"
            )
        if category_id not in self.categories:
            raise ValueError(
                f"{path}, line {number}: expected a class of `names` in conf/source, but got "
                f"{words[0][:30]} - add it there"
            )
        if values.size == 4:
            raise ValueError(
                f"{path}, line {number}: expected a polygon, but 4 numbers are a box - "
                "export segments, not boxes"
            )
        if values.size % 2:
            raise ValueError(
                f"{path}, line {number}: expected x and y of every point, but got "
                f"{values.size} numbers - export it again"
            )
        return category_id, values.reshape(-1, 2)


def _class_index(word: str) -> int | None:
    """The number in the first column, or None if it is not a whole one."""
    try:
        number = float(word)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None
