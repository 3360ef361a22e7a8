"""Where images and their labels lie: listed in text files, or in two folders of equal names."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from maskmill.canonical.files import inside
from maskmill.sources.finding import Findings
from maskmill.sources.folders import require_folder
from maskmill.sources.source import Sample
from maskmill.sources.splits import ClassesOf, Split, require_each, split_of

IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"}
UNSPLIT = ""


class Pairs(ABC):
    """A rule that finds pairs of an image and its labels below a root folder.

    Args:
        splits: split -> share of the names, dealt by hash (one split of share 1 takes all), or a rule of `splits`.
        seed: of the dealing by hash.
    """

    def __init__(self, splits: Mapping[str, float] | Split, *, seed: int = 0) -> None:
        self.split = split_of(splits, seed=seed)

    @abstractmethod
    def find(self, root: Path, findings: Findings) -> tuple[list[Sample], Path]:
        """The samples in a fixed order, not yet dealt to splits, and what lists them; see `Source.samples`."""

    def samples(self, root: Path, findings: Findings, classes_of: ClassesOf) -> list[Sample]:
        """The samples with their splits; see `Source.samples`."""
        found, where = self.find(root, findings)
        return require_each(self.split.shares, self.split.deal(found, classes_of), where)


class ListedPairs(Pairs):
    """Pairs from a text file: an image and its labels a line, relative to the root, apart by white space.

    Args:
        file: the list, relative to the root.
        splits: see `Pairs`.
        prefix: what to take off the front of every path.
        seed: see `Pairs`.
    """

    def __init__(
        self, file: str, splits: Mapping[str, float] | Split, *, prefix: str = "", seed: int = 0
    ) -> None:
        super().__init__(splits, seed=seed)
        self.file, self.prefix = file, prefix

    def find(self, root: Path, findings: Findings) -> tuple[list[Sample], Path]:
        """The listed pairs, in the order of the list."""
        path = require_folder(root) / self.file
        samples = []
        for number, line in lines_of(path):
            words = line.split()
            if len(words) != 2 or not all(word.startswith(self.prefix) for word in words):
                raise ValueError(
                    f"{path}, line {number}: expected an image and its labels, both under {self.prefix!r}, but got {line!r} - "
                    "mend the list or the prefix in conf/source"
                )
            image, labels = (inside(root, word.removeprefix(self.prefix)) for word in words)
            samples.append(Sample(UNSPLIT, image.stem, image, labels))
        return samples, path


class NamedPairs(Pairs):
    """Pairs from a text file with a name a line (PASCAL VOC's ImageSets, and many others).

    Args:
        file: the list, relative to the root; only the first word of a line counts.
        images: where the image of a name lies, as `JPEGImages/{}.jpg`.
        labels: where its labels lie, as `SegmentationClass/{}.png`.
        splits: see `Pairs`.
        seed: see `Pairs`.

    Raises:
        ValueError: a place has no `{}`.
    """

    def __init__(
        self,
        file: str,
        images: str,
        labels: str,
        splits: Mapping[str, float] | Split,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(splits, seed=seed)
        if "{}" not in images or "{}" not in labels:
            raise ValueError(
                f"Expected `images` and `labels` with {{}} for the name, but got {images!r} and {labels!r} - mend conf/source"
            )
        self.file, self.images, self.labels = file, images, labels

    def find(self, root: Path, findings: Findings) -> tuple[list[Sample], Path]:
        """The listed names, in the order of the list."""
        path = require_folder(root) / self.file
        samples = []
        for _, line in lines_of(path):
            name = line.split()[0]
            places = (
                inside(root, self.images.replace("{}", name)),
                inside(root, self.labels.replace("{}", name)),
            )
            samples.append(Sample(UNSPLIT, name, *places))
        return samples, path


class FolderPairs(Pairs):
    """Pairs from two folders: the labels of images/a/b.jpg are labels/a/b.png.

    Args:
        images: the folder of images, relative to the root, searched through.
        labels: the folder of labels.
        splits: see `Pairs`.
        label_ending: what stands for the image's ending in the name of its labels, as `_gt.png`.
        image_ending: the end of the images' names that is not part of the name, as `_leftImg8bit.png`; by default the ending of any
            image format.
        labelled_only: images without labels are left aside, instead of being faults.
        seed: see `Pairs`.
    """

    def __init__(
        self,
        images: str,
        labels: str,
        splits: Mapping[str, float] | Split,
        *,
        label_ending: str = ".png",
        image_ending: str | None = None,
        labelled_only: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(splits, seed=seed)
        self.images, self.labels, self.label_ending, self.image_ending = (
            images,
            labels,
            label_ending,
            image_ending,
        )
        self.labelled_only = labelled_only

    def find(self, root: Path, findings: Findings) -> tuple[list[Sample], Path]:
        """The images in the order of their names; labels without an image are findings.

        Raises:
            FileNotFoundError: a folder is not there.
        """
        folder, label_folder = (
            require_folder(inside(root, self.images)),
            require_folder(inside(root, self.labels)),
        )
        samples = []
        for path in sorted(path for path in folder.rglob("*") if self._is_image(path)):
            name = self._name(path.relative_to(folder))
            labels = label_folder / f"{name}{self.label_ending}"
            if not self.labelled_only or labels.is_file():
                samples.append(Sample(UNSPLIT, name, path, labels))
        known = {sample.labels for sample in samples} | {sample.image for sample in samples}
        for orphan in sorted(set(label_folder.rglob(f"*{self.label_ending}")) - known):
            findings.error(
                orphan,
                f"expected an image for these labels in {folder}, but there is none",
                "add the image or remove the labels",
            )
        return samples, folder

    def _is_image(self, path: Path) -> bool:
        return (
            path.suffix.lower() in IMAGE_ENDINGS
            if self.image_ending is None
            else path.name.endswith(self.image_ending)
        )

    def _name(self, path: Path) -> str:
        return (
            path.with_suffix("").as_posix()
            if self.image_ending is None
            else path.as_posix().removesuffix(self.image_ending)
        )


def lines_of(path: Path) -> list[tuple[int, str]]:
    """The lines of a list that are not empty, with their numbers.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected a list of images and labels, but there is no such file - check conf/source"
        )
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
