"""The interface of a source: what a raw format needs to become canonical."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.sources.finding import Findings


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image, listed but not read.

    Args:
        split: train, val, test or any other name.
        name: unique in its split and without a suffix, as `aachen/000019`; the canonical files have
            this name.
        image_file: the path of the image, as text: a `Path` takes four times the memory.
        labels_file: the path of the file or folder with its labels.
        image_id: the data set's own id of the image; None if the conversion numbers the images,
            from 1 in each split.
        group: images of the same group stay in one split; None if the rule that assigned the
            sample has no groups.
    """

    split: str
    name: str
    image_file: str
    labels_file: str
    image_id: int | None = None
    group: str | None = None

    @property
    def image(self) -> Path:
        """The image file."""
        return Path(self.image_file)

    @property
    def labels(self) -> Path:
        """The file or folder with its labels."""
        return Path(self.labels_file)


class Source(ABC):
    """A raw data set. A new format is one subclass in one file, one file in conf/source, one test.

    Sources are sent to worker processes, so they contain settings and no data. What `read` needs to
    know about a sample is in the sample, of which a source may have a subclass.
    """

    @property
    @abstractmethod
    def categories(self) -> Categories:
        """The category table, with the data set's own ids."""

    @abstractmethod
    def samples(self, findings: Findings) -> list[Sample]:
        """All samples of all splits in a fixed order, listed without decoding an image.

        Args:
            findings: receives problems of single files, such as labels without an image.

        Raises:
            FileNotFoundError: a folder or list does not exist.
            ValueError: a list is invalid, or a split has no sample.
        """

    @abstractmethod
    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """The labels of one sample, with the data set's own category ids.

        Args:
            sample: a sample of this source.
            findings: receives problems of the labels that leave them usable.

        Raises:
            FileNotFoundError: the labels do not exist.
            ValueError: the labels do not decode, or break the rules of the format.
        """

    def classes_of(self, sample: Sample) -> set[int]:
        """The category ids in a sample, which a stratified split needs.

        Override this where the format lists them, so that no mask has to be decoded.
        """
        try:
            return set(self.read(sample, Findings()).category_of.values())
        except (ValueError, OSError):
            return set()  # the conversion reports the problem

    def files(self, sample: Sample) -> tuple[Path, ...]:
        """The files and folders that `read` and the conversion depend on."""
        return sample.image, sample.labels
