"""Instance or panoptic data in labelme's form: a JSON file beside each image, a shape per object."""

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import inside, read_json
from maskmill.canonical.panoptic import VOID_ID, Panoptic
from maskmill.canonical.runs import relabel
from maskmill.sources.finding import Finding, Findings
from maskmill.sources.folders import require_folder
from maskmill.sources.layers import Layer, find_repeats
from maskmill.sources.polygons import Mask, Points, polygon_mask, sound_polygons
from maskmill.sources.source import Sample, Source
from maskmill.sources.splits import Split, require_each, split_of

NO_AREA = {"point", "points", "line", "linestrip"}


class Labelme(Source):
    """Folders of `NAME.json` files, each naming its image; shapes of one label and one `group_id` are one object.

    A later shape lies over an earlier one, as in labelme's own export; pixels of no shape are void.

    Args:
        root: the data set's folder.
        folder: where the JSON files lie, relative to the root, searched through.
        names: label -> category id.
        splits: split -> share of the files, dealt by hash of the name, or a rule of `splits`.
        stuff: labels that are stuff; the others are things.
        void: labels of regions that are not to be learned, which become void.
        seed: of the dealing by hash.

    Raises:
        ValueError: `stuff` names an unknown label, or `void` a known one.
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
        self.root, self.folder, self.names, self.void = root, folder, dict(names), frozenset(void)
        self.split = split_of(splits, seed=seed)
        wrong = sorted(set(stuff) - names.keys() | self.void & names.keys())
        if wrong:
            raise ValueError(
                f"Expected `stuff` among `names` and `void` outside of them, but got {wrong} - mend conf/source"
            )
        rows = [
            {"id": key, "name": name, "isthing": int(name not in stuff)}
            for name, key in names.items()
        ]
        self._categories = Categories.from_list(rows)

    @property
    def categories(self) -> Categories:
        """As named."""
        return self._categories

    def samples(self, findings: Findings) -> list[Sample]:
        """The JSON files in the order of their names; images without one are findings; see `Source.samples`."""
        folder = require_folder(inside(self.root, self.folder))
        samples, images = [], set()
        for path in sorted(folder.rglob("*.json")):
            try:
                image = path.parent / _content(path)["imagePath"].replace("\\", "/")
            except ValueError as error:
                findings.append(Finding.of(error, path))
                continue
            images.add(image.resolve())
            samples.append(
                Sample("", path.relative_to(folder).with_suffix("").as_posix(), image, path)
            )
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in {".jpg", ".jpeg", ".png"} and path.resolve() not in images:
                findings.error(
                    path,
                    "expected a JSON file for this image, but none names it",
                    "label the image or remove it",
                )
        return require_each(self.split.shares, self.split.deal(samples, self.classes_of), folder)

    def classes_of(self, sample: Sample) -> set[int]:
        """From the labels of the shapes."""
        return {
            self.names[shape["label"]]
            for shape in _content(sample.labels)["shapes"]
            if shape["label"] in self.names
        }

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """The shapes, laid over each other; segments are numbered in the order of their first shapes; see `Source.read`."""
        content = _content(sample.labels)
        size = int(content["imageHeight"]), int(content["imageWidth"])
        ids = np.zeros(size, np.int32)
        objects: dict[tuple[str, object], list[Layer]] = {}
        for place, shape in enumerate(content["shapes"], start=1):
            label, name = str(shape["label"]), f"shape {place} ({shape['label']})"
            if label not in self.names and label not in self.void:
                raise ValueError(
                    f"{sample.labels}: expected labels of conf/source, but {name} has another - add it to `names` or `void` there"
                )
            group = f"alone {place}" if shape.get("group_id") is None else shape["group_id"]
            parts = objects.setdefault((label, group if self._is_thing(label) else None), [])
            mask = _mask(shape, size, sample.labels, name, findings)
            if mask is not None:
                parts.append(Layer(mask, self.names.get(label, -1), name))
                ids[mask] = (
                    list(objects).index((label, group if self._is_thing(label) else None)) + 1
                )
        kept = {
            number: self.names[label]
            for number, (label, _) in enumerate(objects, start=1)
            if label in self.names
        }
        things = [
            parts[0]
            for (label, _), parts in objects.items()
            if len(parts) == 1 and self._is_thing(label)
        ]
        find_repeats(things, sample.labels, findings)
        hidden = [
            parts[0].name
            for number, parts in enumerate(objects.values(), start=1)
            if parts and not (ids == number).any()
        ]
        for name in hidden:
            findings.warn(
                sample.labels,
                f"expected {name} to be seen, but other shapes hide it whole",
                "remove it or mend the others",
            )
        return Panoptic.from_ids(
            relabel(ids, {number: number for number in kept}, default=VOID_ID), kept
        )

    def _is_thing(self, label: str) -> bool:
        return label in self.names and self._categories[self.names[label]].isthing


def _content(path: Path) -> dict[str, Any]:
    """A labelme file with what it must have."""
    content = read_json(path)
    missing = (
        {"shapes", "imagePath", "imageHeight", "imageWidth"} - set(content)
        if isinstance(content, dict)
        else {"shapes"}
    )
    if missing:
        raise ValueError(
            f"{path}: expected a labelme file, but it lacks {sorted(missing)} - save it with labelme again"
        )
    return dict(content)


def _mask(
    shape: dict[str, Any], size: tuple[int, int], path: Path, name: str, findings: Findings
) -> Mask | None:
    """The pixels of a shape, or None where it has none."""
    kind, points = (
        shape.get("shape_type", "polygon"),
        np.array(shape["points"], np.float64).reshape(-1, 2),
    )
    if kind in NO_AREA:
        findings.warn(
            path,
            f"expected {name} with an area, but it is a {kind}",
            "draw a polygon; it is left out",
        )
        return None
    if kind == "mask":
        return _bitmap(shape, points, size, path, name)
    if kind == "circle" and len(points) == 2:
        radius = float(np.hypot(*(points[1] - points[0])))
        canvas = Image.new("1", (size[1], size[0]))
        (x, y), edge = points[0], radius
        ImageDraw.Draw(canvas).ellipse([x - edge, y - edge, x + edge, y + edge], outline=1, fill=1)
        return np.asarray(canvas, dtype=bool)
    if kind == "rectangle" and len(points) == 2:
        points = _corners(points)
    elif kind not in {"polygon", "oriented_rectangle"}:
        raise ValueError(
            f"{path}: expected a shape with an area, but {name} is a {kind} of {len(points)} points - draw it as a polygon"
        )
    sound = sound_polygons([points], size, path, name, findings)
    return polygon_mask(sound, size, "pillow") if sound else None


def _corners(points: Points) -> Points:
    (left, top), (right, bottom) = points.min(0), points.max(0)
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _bitmap(
    shape: dict[str, Any], points: Points, size: tuple[int, int], path: Path, name: str
) -> Mask:
    """A shape that labelme keeps as a PNG in base64, with its left upper corner."""
    try:
        bitmap = (
            np.asarray(Image.open(io.BytesIO(base64.b64decode(shape["mask"], validate=True)))) > 0
        )
    except (KeyError, TypeError, binascii.Error, OSError) as error:
        raise ValueError(
            f"{path}: expected {name} with a mask, but it does not decode ({error}) - draw it again"
        ) from error
    x, y = (int(value) for value in points.min(0))
    mask = np.zeros(size, dtype=bool)
    if x < 0 or y < 0 or y + bitmap.shape[0] > size[0] or x + bitmap.shape[1] > size[1]:
        raise ValueError(
            f"{path}: expected {name} inside the image, but its mask leaves it - draw it again"
        )
    mask[y : y + bitmap.shape[0], x : x + bitmap.shape[1]] = bitmap
    return mask
