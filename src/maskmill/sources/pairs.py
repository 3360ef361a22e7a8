"""Where images and their label images lie: listed in a text file, or in two folders of equal names."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from maskmill.canonical.files import inside
from maskmill.sources.folders import require_folder
from maskmill.sources.source import Sample
from maskmill.sources.splits import HashSplit, require_each

IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"}


class Pairs(ABC):
    """A rule that finds pairs of an image and its labels below a root folder."""

    @abstractmethod
    def find(self, root: Path) -> list[Sample]:
        """The samples in a fixed order; see `Source.samples`."""


class ListedPairs(Pairs):
    """Pairs from a text file: an image and its labels a line, relative to the root, apart by white space.

    Args:
        file: the list, relative to the root.
        splits: split -> share of the listed names, dealt by hash; one split of share 1 takes all.
        prefix: what to take off the front of every path.
        seed: of the dealing.
    """

    def __init__(self, file: str, splits: Mapping[str, float], *, prefix: str = "", seed: int = 0) -> None:
        self.file, self.prefix = file, prefix
        self.split = HashSplit(splits, seed=seed)

    def find(self, root: Path) -> list[Sample]:
        """The listed pairs, in the order of the list."""
        path = require_folder(root) / self.file
        if not path.is_file():
            raise FileNotFoundError(f"{path}: expected a list of images and labels, but there is no such file - check conf/source")
        samples = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            words = line.split()
            if not words:
                continue
            if len(words) != 2 or not all(word.startswith(self.prefix) for word in words):
                raise ValueError(
                    f"{path}, line {number}: expected an image and its labels, both under {self.prefix!r}, but got {line!r} - "
                    "mend the list or the prefix in conf/source"
                )
            image, labels = (inside(root, word.removeprefix(self.prefix)) for word in words)
            samples.append(Sample(self.split.of(image.stem), image.stem, image, labels))
        return require_each(self.split.shares, samples, path)


class FolderPairs(Pairs):
    """Pairs from two folders: the labels of images/a/b.jpg are labels/a/b.png.

    Args:
        images: the folder of images, relative to the root, searched through.
        labels: the folder of labels.
        splits: split -> share of the names, dealt by hash; one split of share 1 takes all.
        label_ending: what stands for the image's ending in the name of its labels, as `_gt.png`.
        seed: of the dealing.
    """

    def __init__(self, images: str, labels: str, splits: Mapping[str, float], *, label_ending: str = ".png", seed: int = 0) -> None:
        self.images, self.labels, self.label_ending = images, labels, label_ending
        self.split = HashSplit(splits, seed=seed)

    def find(self, root: Path) -> list[Sample]:
        """The images in the order of their names.

        Raises:
            FileNotFoundError: a folder is not there.
            ValueError: labels have no image, or a split has none.
        """
        folder, label_folder = require_folder(inside(root, self.images)), require_folder(inside(root, self.labels))
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_ENDINGS)
        samples = []
        for path in paths:
            name = path.relative_to(folder).with_suffix("").as_posix()
            samples.append(Sample(self.split.of(name), name, path, label_folder / f"{name}{self.label_ending}"))
        orphans = sorted(set(label_folder.rglob(f"*{self.label_ending}")) - {sample.labels for sample in samples})
        if orphans:
            raise ValueError(
                f"{orphans[0]}: expected an image for these labels in {folder}, but there is none - add it or remove the labels"
            )
        return require_each(self.split.shares, samples, folder)
