"""Rules that find images and their labels: listed in text files, or in two parallel folders."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from maskmill.canonical.files import inside, read_text
from maskmill.sources.finding import Findings
from maskmill.sources.folders import (
    find_file,
    list_files,
    list_images,
    normal_form,
    require_folder,
)
from maskmill.sources.source import Sample
from maskmill.sources.splits import ClassesOf, Split, as_split, require_every_split

UNASSIGNED = ""  # the split of a sample that has none yet


class Pairs(ABC):
    """A rule that finds pairs of an image and its labels below a root folder.

    Args:
        splits: split -> share of the images, assigned by a hash of the name (one split of share 1
            takes all), or a rule of `splits`.
        seed: seed of the hash.
    """

    def __init__(self, splits: Mapping[str, float] | Split, *, seed: int = 0) -> None:
        self.split = as_split(splits, seed=seed)

    @abstractmethod
    def find(self, root: Path, findings: Findings) -> tuple[list[Sample], Path]:
        """The samples in a fixed order, without splits, and the file or folder that lists them.

        See `Source.samples` for the arguments and errors.
        """

    def samples(self, root: Path, findings: Findings, classes_of: ClassesOf) -> list[Sample]:
        """The samples with their splits; see `Source.samples`."""
        samples, listed_in = self.find(root, findings)
        try:
            assigned = self.split.assign(samples, classes_of)
        except ValueError as error:  # it names the image alone
            raise ValueError(f"{listed_in}: {error}") from error
        return require_every_split(self.split.shares, assigned, listed_in)


def list_samples(
    pairs: Sequence[Pairs], root: Path, findings: Findings, classes_of: ClassesOf
) -> list[Sample]:
    """The samples of several rules, in the order of the rules; see `Source.samples`."""
    samples: list[Sample] = []
    for rule in pairs:
        samples += rule.samples(root, findings, classes_of)
    return samples


class ListedPairs(Pairs):
    """Pairs from a text file: per line an image and its labels, separated by white space.

    Args:
        file: the list; its paths and its own are relative to the root, with slashes or backslashes.
        splits: see `Pairs`.
        prefix: what to remove from the start of every path.
        seed: see `Pairs`.
    """

    def __init__(
        self, file: str, splits: Mapping[str, float] | Split, *, prefix: str = "", seed: int = 0
    ) -> None:
        super().__init__(splits, seed=seed)
        self.file = file
        self.prefix = prefix.replace("\\", "/")

    def find(self, root: Path, findings: Findings) -> tuple[list[Sample], Path]:
        """The listed pairs, in the order of the list, and the list."""
        path = require_folder(root) / self.file
        samples = []
        for number, line in read_lines(path):
            words = line.replace("\\", "/").split()  # Windows
            if len(words) != 2 or not all(word.startswith(self.prefix) for word in words):
                raise ValueError(
                    f"{path}, line {number}: expected an image and its labels, both under "
                    f"{self.prefix!r}, but got {line!r} - fix either the list or the prefix in "
                    "conf/source"
                )
            image = find_file(inside(root, words[0].removeprefix(self.prefix)))
            labels = find_file(inside(root, words[1].removeprefix(self.prefix)))
            samples.append(Sample(UNASSIGNED, image.stem, str(image), str(labels)))
        return samples, path


class NamedPairs(Pairs):
    """Pairs from a text file with a name per line (PASCAL VOC's ImageSets, and many others).

    Args:
        file: the list, relative to the root; only the first word of a line counts.
        images: the path of the image of a name, such as `JPEGImages/{}.jpg`.
        labels: the path of the labels of a name, such as `SegmentationClass/{}.png`.
        splits: see `Pairs`.
        seed: see `Pairs`.

    Raises:
        ValueError: `images` or `labels` has no `{}`.
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
                "Expected `images` and `labels` with {} for the name, but got "
                f"{images!r} and {labels!r} - check conf/source"
            )
        self.file = file
        self.images = images
        self.labels = labels

    def find(self, root: Path, findings: Findings) -> tuple[list[Sample], Path]:
        """The listed names, in the order of the list, and the list."""
        path = require_folder(root) / self.file
        samples = []
        for _, line in read_lines(path):
            name = line.replace("\\", "/").split()[0]  # Windows
            image = find_file(inside(root, self.images.replace("{}", name)))
            labels = find_file(inside(root, self.labels.replace("{}", name)))
            samples.append(Sample(UNASSIGNED, name, str(image), str(labels)))
        return samples, path


class FolderPairs(Pairs):
    """Pairs from two folders: the labels of images/a/b.jpg are labels/a/b.png.

    Args:
        images: the folder of images with its subfolders, relative to the root.
        labels: the folder of labels, relative to the root.
        splits: see `Pairs`.
        label_ending: the end of the labels' file names that replaces the image's, such as
            `_gt.png`.
        image_ending: the end of the images' file names that is not part of the name, such as
            `_leftImg8bit.png`; by default the suffix of any image format.
        labelled_only: whether images without labels are ignored instead of being errors.
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
        self.images = images
        self.labels = labels
        self.label_ending = label_ending
        self.image_ending = image_ending
        self.labelled_only = labelled_only

    def find(self, root: Path, findings: Findings) -> tuple[list[Sample], Path]:
        """The images sorted by name, and their folder; labels without an image become findings.

        Raises:
            FileNotFoundError: a folder does not exist.
        """
        folder = require_folder(inside(root, self.images))
        label_folder = require_folder(inside(root, self.labels))
        label_files = self._label_files(
            label_folder, Findings() if folder == label_folder else findings
        )
        samples = []
        for path in self._image_files(folder, findings):
            name = self._name(path.relative_to(folder))
            expected = label_folder / f"{name}{self.label_ending}"
            labels = label_files.get(normal_form(name))
            if labels is not None or not self.labelled_only:
                samples.append(Sample(UNASSIGNED, name, str(path), str(labels or expected)))
        orphans = set(label_files.values())
        for sample in samples:
            orphans -= {sample.image, sample.labels}
        for orphan in sorted(orphans):
            findings.error(
                orphan,
                f"expected an image for these labels in {folder}, but there is none",
                "either add the image or remove the labels",
            )
        return samples, folder

    def _image_files(self, folder: Path, findings: Findings) -> list[Path]:
        if self.image_ending is None:
            return list_images(folder, findings)
        files = list_files(folder, findings)
        return [path for path in files if _ends_with(path, self.image_ending)]

    def _label_files(self, folder: Path, findings: Findings) -> dict[str, Path]:
        """Name in Unicode's form NFC -> the file with the labels of this name."""
        files = {}
        for path in list_files(folder, findings):
            if _ends_with(path, self.label_ending):
                name = path.relative_to(folder).as_posix()
                files[normal_form(name[: len(name) - len(self.label_ending)])] = path
        return files

    def _name(self, path: Path) -> str:
        if self.image_ending is None:
            return path.with_suffix("").as_posix()
        name = path.as_posix()
        return name[: len(name) - len(self.image_ending)]


def _ends_with(path: Path, ending: str) -> bool:
    """Whether a file name has an ending, in capital or small letters."""
    return path.name.lower().endswith(ending.lower())


def read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a text file that are not empty, each with its number from 1.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not text.
    """
    lines = read_text(path, expected="a list of images and labels").splitlines()
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
