"""Instance data in the text form of YOLO segmentation: a line per object, `class x1 y1 x2 y2 ...`, as shares of width and height."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.sources.finding import Findings
from maskmill.sources.images import image_size
from maskmill.sources.layers import Layer, Overlap, stack
from maskmill.sources.pairs import FolderPairs
from maskmill.sources.polygons import Points, Rasterizer, polygon_mask, sound_polygons
from maskmill.sources.source import Sample, Source
from maskmill.sources.splits import Split


@dataclass(frozen=True)
class YoloPart:
    """A folder of images, the folder of their label files, both relative to the root, and which splits they become."""

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
        unlabelled: an image without a label file is one without objects, as the form has it, or a fault.
        overlap: which of two objects gets the pixels both have; see `layers.stack`.
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
        self.root, self.parts, self.unlabelled = root, tuple(parts), unlabelled
        self.overlap: Overlap = overlap
        self.rasterizer: Rasterizer = rasterizer
        if not self.parts:
            raise ValueError(
                "Expected at least one part, but got none - name its folders in conf/source"
            )
        rows = names.items() if isinstance(names, Mapping) else enumerate(names)
        self._categories = Categories.from_list(
            [{"id": int(key), "name": name, "isthing": 1} for key, name in rows]
        )

    @property
    def categories(self) -> Categories:
        """As named."""
        return self._categories

    def samples(self, findings: Findings) -> list[Sample]:
        """The images in the order of their names; see `Source.samples`."""
        samples = []
        for part in self.parts:
            pairs = FolderPairs(
                part.images, part.labels, part.splits, label_ending=".txt", seed=part.seed
            )
            samples += pairs.samples(self.root, findings, self.classes_of)
        return samples

    def classes_of(self, sample: Sample) -> set[int]:
        """From the label file's first column."""
        if not sample.labels.is_file():
            return set()
        words = [
            line.split()
            for line in sample.labels.read_text(encoding="utf-8", errors="replace").splitlines()
        ]
        return {int(row[0]) for row in words if row and row[0].isdecimal()} & set(
            self.categories.index
        )

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """The objects, laid over each other; see `Source.read`."""
        size = image_size(sample.image)
        layers = []
        for number, line in self._lines(sample):
            name = f"line {number}"
            category_id, points = self._object(line, sample.labels, number)
            sound = sound_polygons(
                [points * (size[1], size[0])], size, sample.labels, name, findings
            )
            if sound:
                layers.append(Layer(polygon_mask(sound, size, self.rasterizer), category_id, name))
        return stack(layers, size, self.categories, self.overlap, sample.labels, findings)

    def _lines(self, sample: Sample) -> list[tuple[int, str]]:
        if not sample.labels.is_file():
            if self.unlabelled:
                return []
            raise FileNotFoundError(
                f"{sample.labels}: expected labels of {sample.image.name}, but there is no such file - add it"
            )
        try:
            lines = sample.labels.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{sample.labels}: expected a text file, but it does not decode ({error}) - replace the file"
            ) from error
        return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]

    def _object(self, line: str, path: Path, number: int) -> tuple[int, Points]:
        words = line.split()
        try:
            category_id, values = int(float(words[0])), np.array(words[1:], np.float64)
        except ValueError as error:
            raise ValueError(
                f"{path}, line {number}: expected numbers apart by blanks, but got {line[:60]!r} - export it again"
            ) from error
        if category_id not in self.categories:
            raise ValueError(
                f"{path}, line {number}: expected a class of `names` in conf/source, but got {words[0]} - add it there"
            )
        if values.size == 4:
            raise ValueError(
                f"{path}, line {number}: expected a polygon, but 4 numbers are a box - export segments, not boxes"
            )
        if values.size % 2:
            raise ValueError(
                f"{path}, line {number}: expected x and y of every point, but got {values.size} numbers - export it again"
            )
        return category_id, values.reshape(-1, 2)
