"""A split on disk: images, panoptic PNGs and the JSON with their segments (COCO panoptic)."""

import copy
import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import inside
from maskmill.canonical.panoptic import ListedPanoptic, Panoptic
from maskmill.canonical.panoptic_index import PanopticIndex, RowsById, read_panoptic_index
from maskmill.canonical.png import RGB, read_ids, read_rgb, write_ids


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of a split: `file_name` is relative to the images folder, the size is in pixels."""

    id: int
    file_name: str
    height: int
    width: int


def _image_record(row: Mapping[str, Any]) -> ImageRecord:
    return ImageRecord(row["id"], row["file_name"], row["height"], row["width"])


def png_name(record: ImageRecord) -> str:
    """The name of an image's label PNG: the image's own name, ending in .png.

    Example:
        >>> png_name(ImageRecord(1, "aachen/a.jpg", height=480, width=640))
        'aachen/a.png'
    """
    return str(Path(record.file_name).with_suffix(".png"))


def require_distinct_png_names(records: Iterable[ImageRecord]) -> None:
    """Refuse images whose label PNGs would overwrite each other, as those of a.jpg and a.png.

    Raises:
        ValueError: two images differ only in the ending of their names.
    """
    image_of: dict[str, str] = {}
    for record in records:
        name = png_name(record)
        if name in image_of:
            raise ValueError(
                f"Expected image names that differ before the ending, but got {image_of[name]} and "
                f"{record.file_name}, whose labels would both be written to {name} - "
                "either rename one of the images or move it to another folder"
            )
        image_of[name] = record.file_name


def annotation(record: ImageRecord, panoptic: Panoptic) -> dict[str, Any]:
    """The COCO annotation of one image."""
    rows = [segment.as_dict() for segment in panoptic.segments]
    return {"image_id": record.id, "file_name": png_name(record), "segments_info": rows}


def write_panoptic(folder: Path, record: ImageRecord, panoptic: Panoptic) -> dict[str, Any]:
    """Write one image's PNG to `folder`/panoptic and return its annotation for the index.

    Raises:
        ValueError: the name of the image leaves its folder.
    """
    write_ids(inside(folder / "panoptic", png_name(record)), panoptic.ids)
    return annotation(record, panoptic)


class IndexWriter:
    """Writes `folder`/panoptic.json image by image, in constant memory.

    The file appears when the writer is closed, whole; it makes the split readable.
    """

    def __init__(self, folder: Path, categories: Categories) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._categories = categories
        self._images = _open_temporary_file(folder)
        self._annotations = _open_temporary_file(folder)
        self.num_images = 0

    def add(self, record: ImageRecord, row: Mapping[str, Any]) -> None:
        """Add an image and its annotation.

        Raises:
            ValueError: the annotation contains NaN or infinity.
        """
        separator = ",\n" if self.num_images else "\n"
        self._images.write(separator + json.dumps(asdict(record)))
        self._annotations.write(separator + json.dumps(row, allow_nan=False))
        self.num_images += 1

    def close(self) -> Path:
        """Write the index and return its path."""
        unfinished = self._folder / ".panoptic.json"
        with unfinished.open("w", encoding="utf-8") as file:
            file.write('{\n"images": [')
            self._images.seek(0)
            shutil.copyfileobj(self._images, file)
            file.write('\n],\n"annotations": [')
            self._annotations.seek(0)
            shutil.copyfileobj(self._annotations, file)
            file.write(f'\n],\n"categories": {json.dumps(self._categories.as_list())}\n}}\n')
        self._images.close()
        self._annotations.close()
        return unfinished.replace(self._folder / "panoptic.json")


def _open_temporary_file(folder: Path) -> IO[str]:
    return tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder)


def write_index(
    folder: Path,
    categories: Categories,
    records: Iterable[ImageRecord],
    annotations: Iterable[Mapping[str, Any]],
) -> Path:
    """Write `folder`/panoptic.json; written last, it makes the split readable."""
    writer = IndexWriter(folder, categories)
    for record, row in zip(records, annotations, strict=True):
        writer.add(record, row)
    return writer.close()


class PanopticFolder:
    """Read a split that `prepare` wrote, or any COCO panoptic JSON file with its PNGs.

    The PNGs are in the folder with the name of the JSON file, next to it.

    Args:
        path: a folder with panoptic.json, panoptic/ and optionally images/, or a JSON file.
        expected: for predictions, the category table of the ground truth, which is then used. The
            file's own table may be absent, as in COCO's form of results; otherwise its names and
            kinds must be those of `expected`.

    Raises:
        FileNotFoundError: there is neither.
        ValueError: the JSON is broken, lacks a key, has a value of another type or an id or file
            name twice, refers to a category it lacks, or names a file outside its folder; or its
            category table differs from `expected`.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> import numpy as np
        >>> folder = Path(TemporaryDirectory().name)
        >>> ids = np.array([[0, 1, 1]], np.int32)
        >>> panoptic = Panoptic.from_ids(ids, {1: 26})
        >>> record = ImageRecord(5, "a.jpg", height=1, width=3)
        >>> row = write_panoptic(folder, record, panoptic)
        >>> categories = Categories.from_list([{"id": 26, "name": "car", "isthing": 1}])
        >>> _ = write_index(folder, categories, [record], [row])
        >>> split = PanopticFolder(folder)
        >>> split.panoptic(5).ids
        array([[0, 1, 1]], dtype=int32)
    """

    def __init__(self, path: Path, *, expected: Categories | None = None) -> None:
        self.path = path
        self.json_path = path if path.suffix == ".json" else path / "panoptic.json"
        self.png_folder = self.json_path.with_suffix("")
        self.image_folder = self.json_path.parent / "images"
        if not self.json_path.is_file():
            raise FileNotFoundError(
                f"{path}: expected a folder with panoptic.json or a COCO panoptic JSON file - "
                "either check the path or run the previous stage first"
            )
        index = read_panoptic_index(self.json_path)
        self.categories = self._read_categories(index.categories, expected)
        self._require_valid_references(index)
        self._annotations: Mapping[int, Any] = RowsById(index.image_ids, index.annotations)
        self._images: Sequence[Any] | None = index.images

    def _read_categories(
        self, rows: list[dict[str, Any]] | None, expected: Categories | None
    ) -> Categories:
        if expected is not None:
            expected.require_same([] if rows is None else rows, self.json_path)
            return expected
        if rows is None:
            raise ValueError(
                f"{self.json_path}: expected `categories` with `id`, `name` and `isthing` of each "
                "class, but there are none - add the table"
            )
        try:
            return Categories.from_list(rows)
        except ValueError as error:
            raise ValueError(f"{self.json_path}: {error}") from error

    def __len__(self) -> int:
        return len(self._annotations)

    def __contains__(self, image_id: int) -> bool:
        return image_id in self._annotations

    @cached_property
    def records(self) -> tuple[ImageRecord, ...]:
        """The images in the order of the file.

        Raises:
            ValueError: the JSON has no images (predictions may lack them), an image has no
                annotation, or a file name leaves the folder of the images.
        """
        if self._images is None:
            raise ValueError(
                f"{self.json_path}: expected `images` with their sizes, but there are none - "
                "add them"
            )
        records = tuple(map(_image_record, self._images))
        bare = []
        for record in records:
            inside(self.image_folder, record.file_name)
            if record.id not in self._annotations:
                bare.append(record.file_name)
        if bare:
            raise ValueError(
                f"{self.json_path}: expected an annotation for every image, but {bare[:5]} have "
                "none - either label these images or remove them"
            )
        return records

    def only(self, records: Iterable[ImageRecord]) -> "PanopticFolder":
        """The annotations of some images, without records: small enough for another process."""
        part = copy.copy(self)
        part._annotations = {record.id: self._annotations[record.id] for record in records}
        part._images = None
        part.__dict__.pop("records", None)
        return part

    def panoptic(self, image_id: int) -> Panoptic:
        """The labels of one image; areas and boxes are measured from its PNG.

        Raises:
            FileNotFoundError: the PNG does not exist.
            ValueError: the PNG does not decode, or disagrees with segments_info on the ids.
        """
        return self.listed(image_id).measured()

    def listed(self, image_id: int) -> ListedPanoptic:
        """The labels of one image, before map and segments_info are compared; see `panoptic`."""
        row = self.annotation(image_id)
        path = inside(self.png_folder, row["file_name"])
        where = f"{path} (image {image_id} of {self.json_path})"
        return ListedPanoptic.from_rows(read_ids(path), row["segments_info"], where)

    def annotation(self, image_id: int) -> dict[str, Any]:
        """The annotation of one image, as in the JSON file."""
        row: dict[str, Any] = self._annotations[image_id]
        return row

    def png_path(self, image_id: int) -> Path:
        """The path of an image's label PNG."""
        return inside(self.png_folder, self.annotation(image_id)["file_name"])

    def image_path(self, record: ImageRecord) -> Path:
        """The path of an image."""
        return inside(self.image_folder, record.file_name)

    def image(self, record: ImageRecord) -> RGB:
        """One image, (H, W, 3) uint8 RGB.

        Raises:
            FileNotFoundError: the image does not exist.
            ValueError: it does not decode, or its size is not the one in the JSON file.
        """
        path = self.image_path(record)
        image = read_rgb(path)
        height, width = image.shape[:2]
        if (height, width) != (record.height, record.width):
            raise ValueError(
                f"{path}: expected {record.height} x {record.width} pixels as in "
                f"{self.json_path.name}, but got {height} x {width} - run `dvc repro prepare` again"
            )
        return image

    def _require_valid_references(self, index: PanopticIndex) -> None:
        known = self.categories.index
        if index.category_ids <= known.keys():
            for name in index.png_names:
                inside(self.png_folder, name)
            return
        for row in index.annotations:
            inside(self.png_folder, row["file_name"])
            for info in row["segments_info"]:
                if info["category_id"] not in known:
                    raise ValueError(
                        f"{self.json_path}: segment {info['id']} of image {row['image_id']} has "
                        f"category {info['category_id']}, which is not in the category table - "
                        "either add the category or correct the segment"
                    )
