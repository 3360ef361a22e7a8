"""The contract of a source: what it takes to bring another raw format into the canonical one."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic


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
    def samples(self) -> list[Sample]:
        """All samples of all splits in a fixed order, listed without decoding a file.

        Raises:
            FileNotFoundError: a folder or list is not there.
            ValueError: a list is broken, or a split has no sample.
        """

    @abstractmethod
    def read(self, sample: Sample) -> Panoptic:
        """The labels of one sample, with the data set's own category ids.

        Raises:
            FileNotFoundError: the labels are not there.
            ValueError: the labels do not decode or break the format's rules.
        """
