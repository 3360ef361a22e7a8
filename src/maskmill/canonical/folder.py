"""A split on disk: images, panoptic PNGs and the JSON that names their segments (COCO panoptic)."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import inside, read_json
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import RGB, read_ids, read_rgb, write_ids


@dataclass(frozen=True)
class ImageRecord:
    """One image of a split. `file_name` is relative to the images folder."""

    id: int
    file_name: str
    height: int
    width: int


def annotation(record: ImageRecord, panoptic: Panoptic) -> dict[str, Any]:
    """The COCO annotation of one image; its PNG has the image's name with the ending .png."""
    rows = [segment.as_dict() for segment in panoptic.segments]
    return {"image_id": record.id, "file_name": png_name(record), "segments_info": rows}


def png_name(record: ImageRecord) -> str:
    """The name of an image's label PNG: the image's own, ending in .png."""
    return str(Path(record.file_name).with_suffix(".png"))


def write_panoptic(folder: Path, record: ImageRecord, panoptic: Panoptic) -> dict[str, Any]:
    """Write one image's PNG to `folder`/panoptic and return its annotation, for the index once all are there."""
    write_ids(folder / "panoptic" / png_name(record), panoptic.ids)
    return annotation(record, panoptic)


class IndexWriter:
    """Writes `folder`/panoptic.json image by image, so that a million of them need no more memory than one.

    The file appears when it is closed, whole; it makes the split readable.
    """

    def __init__(self, folder: Path, categories: Categories) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._categories = folder, categories
        self._rows = {
            key: tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder)  # noqa: SIM115 - closed in close()
            for key in ("images", "annotations")
        }
        self.num_images = 0

    def add(self, record: ImageRecord, row: dict[str, Any]) -> None:
        """Add an image and its annotation."""
        for key, value in (("images", asdict(record)), ("annotations", row)):
            self._rows[key].write(
                f"{',' if self.num_images else ''}\n{json.dumps(value, allow_nan=False)}"
            )
        self.num_images += 1

    def close(self) -> Path:
        """Write the index."""
        part = self._folder / ".panoptic.json"
        with part.open("w", encoding="utf-8") as file:
            for key, rows in self._rows.items():
                rows.seek(0)
                file.write(f'{"{" if key == "images" else ","}\n"{key}": [')
                shutil.copyfileobj(rows, file)
                file.write("\n]")
                rows.close()
            file.write(f',\n"categories": {json.dumps(self._categories.as_list())}\n}}\n')
        return part.replace(self._folder / "panoptic.json")


def write_index(
    folder: Path,
    categories: Categories,
    records: Iterable[ImageRecord],
    annotations: Iterable[dict[str, Any]],
) -> Path:
    """Write `folder`/panoptic.json: written last, it makes the split readable."""
    writer = IndexWriter(folder, categories)
    for record, row in zip(records, annotations, strict=True):
        writer.add(record, row)
    return writer.close()


def labelled(
    ids: npt.NDArray[np.int32], segments_info: Sequence[Mapping[str, Any]], where: str
) -> Panoptic:
    """The labels that an id map and its rows make together, measured afresh; `where` says in errors whose they are.

    Raises:
        ValueError: map and rows disagree on the ids.
    """
    infos = {int(info["id"]): info for info in segments_info}
    try:
        panoptic = Panoptic.from_ids(
            ids,
            {key: int(info["category_id"]) for key, info in infos.items()},
            crowds={key for key, info in infos.items() if info.get("iscrowd")},
            scores={key: info["score"] for key, info in infos.items() if "score" in info},
        )
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    absent = sorted(infos.keys() - panoptic.category_of.keys())
    if absent:
        raise ValueError(
            f"{where}: segments_info names ids {absent[:5]}, but no pixel has them - remove these rows"
        )
    return panoptic


class PanopticFolder:
    """Read a split of ours, or anyone's COCO panoptic JSON with its PNGs in the folder of the same name beside it.

    Args:
        path: a folder holding panoptic.json, panoptic/ and perhaps images/, or a COCO panoptic JSON file.

    Raises:
        FileNotFoundError: there is neither.
        ValueError: the JSON is broken, lacks a part, or names a category or an image it does not have.
    """

    def __init__(self, path: Path) -> None:
        self.json_path = path if path.suffix == ".json" else path / "panoptic.json"
        self.png_folder = self.json_path.with_suffix("")
        self.image_folder = self.json_path.parent / "images"
        if not self.json_path.is_file():
            raise FileNotFoundError(
                f"{path}: expected a folder with panoptic.json or a COCO panoptic JSON file - check the path or run the stage before"
            )
        index = read_json(self.json_path)
        missing = {"annotations", "categories"} - set(index)
        if missing:
            raise ValueError(
                f"{self.json_path}: expected COCO panoptic JSON, but it lacks {sorted(missing)}"
            )
        self.categories = Categories.from_list(index["categories"])
        self._annotations = {int(row["image_id"]): row for row in index["annotations"]}
        if len(self._annotations) != len(index["annotations"]):
            raise ValueError(
                f"{self.json_path}: expected one annotation per image, but an image_id stands twice - remove one"
            )
        self._images = index.get("images")
        self._validate_categories()

    def __len__(self) -> int:
        return len(self._annotations)

    @cached_property
    def records(self) -> tuple[ImageRecord, ...]:
        """The images in the order of the file.

        Raises:
            ValueError: the JSON has no images, as predictions may, or an image without annotation.
        """
        if self._images is None:
            raise ValueError(
                f"{self.json_path}: expected `images` with their sizes, but there are none - add them"
            )
        records = tuple(
            ImageRecord(
                int(row["id"]), str(row["file_name"]), int(row["height"]), int(row["width"])
            )
            for row in self._images
        )
        bare = [record.file_name for record in records if record.id not in self._annotations]
        if bare:
            raise ValueError(
                f"{self.json_path}: expected an annotation for every image, but {bare[:5]} have none - label or remove them"
            )
        return records

    def __contains__(self, image_id: int) -> bool:
        return image_id in self._annotations

    def panoptic(self, image_id: int) -> Panoptic:
        """The labels of one image, measured afresh from its PNG.

        Raises:
            FileNotFoundError: the PNG is not there.
            ValueError: the PNG and segments_info disagree on the ids, or the PNG does not decode.
        """
        path = self.png_path(image_id)
        return labelled(
            read_ids(path),
            self.annotation(image_id)["segments_info"],
            f"{path} (image {image_id} of {self.json_path})",
        )

    def annotation(self, image_id: int) -> dict[str, Any]:
        """One image's row of the JSON."""
        row: dict[str, Any] = self._annotations[image_id]
        return row

    def png_path(self, image_id: int) -> Path:
        """Where an image's labels lie."""
        return inside(self.png_folder, self._annotations[image_id]["file_name"])

    def image_path(self, record: ImageRecord) -> Path:
        """Where an image lies."""
        return inside(self.image_folder, record.file_name)

    def image(self, record: ImageRecord) -> RGB:
        """One image, (H, W, 3) uint8 RGB.

        Raises:
            FileNotFoundError: the image is not there.
            ValueError: it does not decode, or is not as large as the JSON says.
        """
        image = read_rgb(self.image_path(record))
        if image.shape[:2] != (record.height, record.width):
            raise ValueError(
                f"{self.image_path(record)}: expected {record.height} x {record.width} pixels as in {self.json_path.name}, "
                f"but got {image.shape[0]} x {image.shape[1]} - run `dvc repro prepare` again"
            )
        return image

    def _validate_categories(self) -> None:
        for row in self._annotations.values():
            for info in row["segments_info"]:
                if int(info["category_id"]) not in self.categories:
                    raise ValueError(
                        f"{self.json_path}: segment {info['id']} of image {row['image_id']} has category {info['category_id']}, "
                        "which the category table lacks - add the category or mend the segment"
                    )
