"""Semantic data: an image and a label image whose pixel is the class id (CamVid, ADE20K's challenge form, VOC, and most others)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.sources.class_maps import panoptic_of_classes
from maskmill.sources.images import read_label_image
from maskmill.sources.pairs import Pairs
from maskmill.sources.source import Sample, Source


class ClassMasks(Source):
    """Images with gray or palette label images.

    Args:
        root: the data set's folder.
        pairs: where images and labels lie, and in which split.
        categories: rows of `id`, `name`, and if wanted `color`.
        void_ids: values that mean "not labelled".

    Raises:
        ValueError: a category is a thing, which a class map cannot tell apart, or is void too.
    """

    def __init__(self, root: Path, pairs: Sequence[Pairs], categories: Sequence[dict[str, Any]], *, void_ids: Sequence[int] = ()) -> None:
        self.root, self.pairs, self.void_ids = root, tuple(pairs), frozenset(void_ids)
        self._categories = Categories.from_list(categories)
        things = [category.name for category in self._categories if category.isthing]
        if things:
            raise ValueError(f"Expected stuff only, since a class map cannot tell objects apart, but got things {things} - set isthing: 0")
        both = [key for key in sorted(self.void_ids) if key in self._categories]
        if both:
            raise ValueError(f"Expected void ids outside the category table, but got {both} in both - take them off one")

    @property
    def categories(self) -> Categories:
        """As configured."""
        return self._categories

    def samples(self) -> list[Sample]:
        """What the pairs find, one after the other; see `Source.samples`."""
        return [sample for pairs in self.pairs for sample in pairs.find(self.root)]

    def read(self, sample: Sample) -> Panoptic:
        """One segment per class; see `Source.read`."""
        try:
            return panoptic_of_classes(read_label_image(sample.labels), self.categories, void_ids=self.void_ids)
        except ValueError as error:
            raise _located(error, sample.labels) from error


def _located(error: ValueError, path: Path) -> ValueError:
    """The error with the file in front, if it does not say it already."""
    return error if str(error).startswith(str(path)) else ValueError(f"{path}: {error}")
