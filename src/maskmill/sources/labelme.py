"""Instance or panoptic data in labelme's form: beside each image a JSON file with its shapes."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import inside, read_json
from maskmill.canonical.limits import require_pixels
from maskmill.canonical.panoptic import VOID_ID, Panoptic
from maskmill.canonical.runs import relabel
from maskmill.sources.class_maps import Labels
from maskmill.sources.finding import Finding, Findings
from maskmill.sources.folders import IMAGE_SUFFIXES, list_files, require_folder
from maskmill.sources.labelme_shapes import SHAPE, ShapeRow, shape_mask
from maskmill.sources.layers import Layer, find_repeats
from maskmill.sources.pairs import UNASSIGNED
from maskmill.sources.rows import FileName, Side, check_row, keep_rows, require_rows
from maskmill.sources.source import Sample, Source
from maskmill.sources.splits import Split, as_split, require_every_split


@dataclass(frozen=True)
class LabelmeFile:
    """The keys that are used; the entries of `shapes` are checked when they are read."""

    imagePath: FileName  # noqa: N815 - the key in the file
    imageHeight: Side  # noqa: N815
    imageWidth: Side  # noqa: N815
    shapes: list[Any]


FILE = TypeAdapter(LabelmeFile)


@dataclass
class _Object:
    """The shapes with a common label and group: `layers` are those that have an area."""

    segment_id: int
    label: str
    layers: list[Layer] = field(default_factory=list)


class Labelme(Source):
    """Folders of `NAME.json` files, each of which names its image.

    Shapes with the same label and the same `group_id` are one object. A later shape is on top of an
    earlier one, as in labelme's own export; pixels of no shape are void.

    Args:
        root: the data set's folder.
        folder: the folder of the JSON files with its subfolders, relative to the root.
        names: label -> category id.
        splits: split -> share of the files, assigned by a hash of the name, or a rule of `splits`.
        stuff: labels that are stuff; the others are things.
        void: labels of regions that become void, so that they are not learned.
        seed: seed of the hash.

    Raises:
        ValueError: `stuff` contains an unknown label, or `void` a known one.
    """

    def __init__(
        self,
        root: Path,
        folder: str,
        names: Mapping[str, int],
        splits: Mapping[str, float] | Split,
        *,
        stuff: Sequence[str] = (),
        void: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        self.root = root
        self.folder = folder
        self.names = dict(names)
        self.void = frozenset(void)
        self.split = as_split(splits, seed=seed)
        wrong = set(stuff) - self.names.keys() | self.void & self.names.keys()
        if wrong:
            raise ValueError(
                "Expected labels of `stuff` in `names` and labels of `void` not in it, but got "
                f"{sorted(wrong)} - check conf/source"
            )
        rows = []
        for label, category_id in names.items():
            rows.append({"id": category_id, "name": label, "isthing": int(label not in stuff)})
        self._categories = Categories.from_list(rows)

    @property
    def categories(self) -> Categories:
        """The configured labels."""
        return self._categories

    def samples(self, findings: Findings) -> list[Sample]:
        """The JSON files sorted by name; see `Source.samples`.

        Images that no JSON file names become findings.
        """
        folder = require_folder(inside(self.root, self.folder))
        samples = []
        labelled = set()
        files = list_files(folder, findings)
        for path in [file for file in files if file.suffix.lower() == ".json"]:
            try:
                image = self._image(path, _content(path).imagePath)
            except (ValueError, OSError) as error:
                findings.append(Finding.from_error(error, path))
                continue
            labelled.add(os.path.realpath(image))
            name = path.relative_to(folder).with_suffix("").as_posix()
            samples.append(Sample(UNASSIGNED, name, str(image), str(path)))
        for path in files:
            if path.suffix.lower() in IMAGE_SUFFIXES and os.path.realpath(path) not in labelled:
                findings.error(
                    path,
                    "expected a JSON file for this image, but none names it",
                    "either label the image or remove it",
                )
        assigned = self.split.assign(samples, self.classes_of)
        return require_every_split(self.split.shares, assigned, folder)

    def classes_of(self, sample: Sample) -> set[int]:
        """The category ids of the shapes' labels."""
        try:
            content = _content(sample.labels)
        except (ValueError, OSError):
            return set()  # the conversion reports the problem
        shapes = keep_rows(SHAPE, _named_shapes(content), sample.labels, Findings())
        labels = {shape.label for _, shape in shapes}
        return {self.names[label] for label in labels & self.names.keys()}

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """The shapes on top of each other; see `Source.read`.

        Segment ids are the positions of the objects, in the order of their first shapes.
        """
        content = _content(sample.labels)
        shapes = require_rows(SHAPE, _named_shapes(content), sample.labels, findings)
        size = content.imageHeight, content.imageWidth
        ids = np.zeros(size, np.int32)
        objects: dict[tuple[str, object], _Object] = {}
        for position, (_, shape) in enumerate(shapes, start=1):
            label = shape.label
            name = f"shape {position} ({label})"
            if label not in self.names and label not in self.void:
                raise ValueError(
                    f"{sample.labels}: expected labels of conf/source, but {name} has another - "
                    "add it there, either to `names` or to `void`"
                )
            key = label, self._group(shape, position)
            drawn = objects.setdefault(key, _Object(len(objects) + 1, label))
            mask = shape_mask(shape, size, sample.labels, name, findings)
            if mask is not None:
                drawn.layers.append(Layer(mask, self.names.get(label, -1), name))
                ids[mask.window][mask.pixels] = drawn.segment_id
        self._find_problems(list(objects.values()), ids, sample.labels, findings)
        category_of = {}
        for drawn in objects.values():
            if drawn.label in self.names:
                category_of[drawn.segment_id] = self.names[drawn.label]
        kept = relabel(ids, {key: key for key in category_of}, default=VOID_ID)
        return Panoptic.from_ids(kept, category_of)

    def _image(self, path: Path, name: str) -> Path:
        """The image that a labelme file names, which must be in the data set's folder.

        Raises:
            ValueError: it is not.
        """
        isabsolute = Path(name).is_absolute() or PureWindowsPath(name).is_absolute()
        relative = os.path.normpath(path.parent.relative_to(self.root) / name.replace("\\", "/"))
        try:
            image = inside(self.root, name if isabsolute else relative)
            # A labelme file may be a link too: DVC can link every file of a data set to its cache.
            isinside = not isabsolute and (self._isinside(image) or not self._isinside(path))
        except ValueError:
            isinside = False
        if not isinside:
            raise ValueError(
                f"{path}: expected an imagePath in the data set's folder {self.root}, but got "
                f"{name[:200]!r} - copy the image there and save the file with labelme again"
            )
        return image

    def _isinside(self, path: Path) -> bool:
        """Whether a path, with all links followed, is in the data set's folder."""
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.root))

    def _group(self, shape: ShapeRow, position: int) -> object:
        """What shapes of one object have in common; all shapes of a stuff label are one object."""
        if not self._isthing(shape.label):
            return None
        return ("alone", position) if shape.group_id is None else shape.group_id

    def _find_problems(
        self, objects: list[_Object], ids: Labels, path: Path, findings: Findings
    ) -> None:
        """Report things that were labelled twice, and objects that others hide completely."""
        things = []
        for drawn in objects:
            if len(drawn.layers) == 1 and self._isthing(drawn.label):
                things.append(drawn.layers[0])
        find_repeats(things, path, findings)
        isvisible = np.bincount(ids.reshape(-1), minlength=len(objects) + 1) > 0
        for drawn in objects:
            if drawn.layers and not isvisible[drawn.segment_id]:
                findings.warn(
                    path,
                    f"expected {drawn.layers[0].name} to be visible, but other shapes hide it "
                    "completely",
                    "either remove it or fix the others",
                )

    def _isthing(self, label: str) -> bool:
        return label in self.names and self._categories[self.names[label]].isthing


def _content(path: Path) -> LabelmeFile:
    """The content of a labelme file.

    Raises:
        ValueError: it is not JSON, lacks a key, or has a value of another type.
    """
    try:
        content = check_row(FILE, read_json(path), "a labelme file")
    except ValueError as error:
        if str(error).startswith(f"{path}"):
            raise
        raise ValueError(f"{path}: {error} - save it with labelme again") from error
    require_pixels(content.imageHeight, content.imageWidth, str(path))
    return content


def _named_shapes(content: LabelmeFile) -> list[tuple[str, Any]]:
    """The entries of `shapes`, each with its name in messages."""
    return [(f"shapes[{index}]", shape) for index, shape in enumerate(content.shapes)]
