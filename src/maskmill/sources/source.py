"""The contract of a source: what it takes to bring another raw format into the canonical one."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.sources.finding import Findings


@dataclass(frozen=True)
class Sample:
    """One labelled image, listed but not read.

    Args:
        split: train, val, test or any other name.
        name: unique in its split and without an ending, as `aachen/000019`; the canonical files bear it.
        image: the image file.
        labels: the file or folder with its labels.
        image_id: where the data set numbers its images; else the conversion does, from 1 in each split.
    """

    split: str
    name: str
    image: Path
    labels: Path
    image_id: int | None = None


class Source(ABC):
    """A raw data set. A new format is one subclass in one file, one file under conf/source/ and one test.

    A source travels to worker processes, so it holds settings and no data; what `read` needs to know about a sample is in the sample,
    of which a source may have a subclass.
    """

    @property
    @abstractmethod
    def categories(self) -> Categories:
        """The category table, with the data set's own ids."""

    @abstractmethod
    def samples(self, findings: Findings) -> list[Sample]:
        """All samples of all splits in a fixed order, listed without decoding an image.

        Args:
            findings: gets what is wrong with single files, as labels without an image.

        Raises:
            FileNotFoundError: a folder or list is not there.
            ValueError: a list is broken, or a split has no sample.
        """

    @abstractmethod
    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """The labels of one sample, with the data set's own category ids.

        Args:
            sample: of this source.
            findings: gets what is wrong with the labels but leaves them usable.

        Raises:
            FileNotFoundError: the labels are not there.
            ValueError: the labels do not decode or break the format's rules.
        """

    def classes_of(self, sample: Sample) -> set[int]:
        """The category ids of a sample, for a stratified split; formats that need not decode a file for it say so in their own way."""
        try:
            return set(self.read(sample, Findings()).category_of.values())
        except (ValueError, OSError):
            return set()  # the conversion reports it

    def files(self, sample: Sample) -> tuple[Path, ...]:
        """The files and folders `read` and the conversion look into: where none of them changed, nothing did."""
        return sample.image, sample.labels
