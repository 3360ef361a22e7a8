"""The images to predict: a prepared split, or any folder of image files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from maskmill.canonical.files import file_digest, inside
from maskmill.canonical.folder import ImageRecord, PanopticFolder, require_distinct_png_names
from maskmill.canonical.png import RGB
from maskmill.sources.finding import Finding, Findings
from maskmill.sources.folders import list_images
from maskmill.sources.images import decode_photo

NUM_SHOWN = 3  # unreadable images in a message


@dataclass(frozen=True)
class ImageFolder:
    """Images, read one by one.

    Args:
        records: the images.
        read: returns the pixels of a record, (H, W, 3) uint8 RGB.
        path: returns the file of a record.
        findings: warnings and notes on the images.
    """

    records: tuple[ImageRecord, ...]
    read: Callable[[ImageRecord], RGB]
    path: Callable[[ImageRecord], Path]
    findings: list[Finding] = field(default_factory=list)

    def __iter__(self) -> Iterator[RGB]:
        return map(self.read, self.records)

    def digests(self) -> dict[str, str]:
        """The sha256 of each image file by its name, so that images are compared by content."""
        return {record.file_name: file_digest(self.path(record)) for record in self.records}


def find_images(folder: Path) -> ImageFolder:
    """The images of a prepared split, or all image files below a folder, sorted by name.

    Files are read as `prepare` reads them, so that the model sees what it was trained with.

    Raises:
        FileNotFoundError: there is no such folder, or no image in it.
        ValueError: two images would have predictions of the same name, or an image is one that
            `prepare` refuses too.
    """
    is_split = (folder / "panoptic.json").is_file()
    images = _images_of_split(folder) if is_split else _image_files(folder)
    require_distinct_png_names(images.records)
    return images


def _images_of_split(folder: Path) -> ImageFolder:
    split = PanopticFolder(folder)
    return ImageFolder(split.records, split.image, split.image_path)


def _image_files(folder: Path) -> ImageFolder:
    findings = Findings()
    paths = list_images(folder, findings) if folder.is_dir() else []
    if not paths:
        notes = "".join(f"; {finding.what}" for finding in findings)
        raise FileNotFoundError(
            f"{folder}: expected a prepared split or a folder of images, but found no image{notes} "
            "- check `predict.images`"
        )
    records = []
    errors = []
    for image_id, path in enumerate(paths, start=1):
        try:
            height, width = _read(path, findings).shape[:2]
        except (ValueError, OSError) as error:
            errors.append(str(error))
            continue
        name = path.relative_to(folder).as_posix()
        records.append(ImageRecord(image_id, name, height, width))
    if errors:
        more = ["..."] if len(errors) > NUM_SHOWN else []
        shown = "\n  ".join(errors[:NUM_SHOWN] + more)
        raise ValueError(
            f"{folder}: expected images as `prepare` reads them, but {len(errors)} of {len(paths)} "
            f"are not - either correct these or move them away:\n  {shown}"
        )

    def path_of(record: ImageRecord) -> Path:
        return inside(folder, record.file_name)

    def read(record: ImageRecord) -> RGB:
        return _read(path_of(record), Findings())

    return ImageFolder(tuple(records), read, path_of, findings)


def _read(path: Path, findings: Findings) -> RGB:
    """The pixels of the canonical file that `prepare` would write."""
    return decode_photo(path.read_bytes(), str(path), findings)
