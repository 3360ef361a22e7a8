"""The images to predict: a prepared split, or any folder of image files."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from maskmill.canonical.files import inside
from maskmill.canonical.folder import ImageRecord, PanopticFolder, require_distinct_png_names
from maskmill.canonical.png import RGB, read_rgb

IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"}


@dataclass(frozen=True)
class ImageFolder:
    """Images below a folder, read one by one.

    Args:
        root: the folder.
        records: the images, with file names below `root`.
    """

    root: Path
    records: tuple[ImageRecord, ...]

    def __iter__(self) -> Iterator[RGB]:
        for record in self.records:
            yield read_rgb(inside(self.root, record.file_name))


def find_images(folder: Path) -> ImageFolder:
    """The images of a prepared split, or all image files below a folder, sorted by name.

    Raises:
        FileNotFoundError: there is no such folder, or no image in it.
        ValueError: two images would have predictions of the same name.
    """
    images = (
        _images_of_split(folder) if (folder / "panoptic.json").is_file() else _image_files(folder)
    )
    require_distinct_png_names(images.records)
    return images


def _images_of_split(folder: Path) -> ImageFolder:
    split = PanopticFolder(folder)
    return ImageFolder(split.image_folder, split.records)


def _image_files(folder: Path) -> ImageFolder:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_ENDINGS)
    if not paths:
        raise FileNotFoundError(
            f"{folder}: expected a prepared split or a folder of images, but found no image - "
            "check `predict.images`"
        )
    records = []
    for image_id, path in enumerate(paths, start=1):
        height, width = read_rgb(path).shape[:2]
        name = path.relative_to(folder).as_posix()
        records.append(ImageRecord(image_id, name, height, width))
    return ImageFolder(folder, tuple(records))
