"""Semantic data: an image and a label image whose pixel says the class (CamVid, ADE20K's challenge form, CCP, and most others)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.sources.class_maps import panoptic_of_classes
from maskmill.sources.finding import Findings
from maskmill.sources.label_images import IndexImage, LabelImage, Labels
from maskmill.sources.pairs import Pairs
from maskmill.sources.source import Sample, Source


class ClassMasks(Source):
    """Images with label images.

    Args:
        root: the data set's folder.
        pairs: where images and labels lie, and in which split.
        categories: rows of `id`, `name`, and if wanted `color`.
        void_ids: values that mean "not labelled".
        labels: how a label image spells classes; by default as gray levels or palette indices.

    Raises:
        ValueError: a category is a thing, which a class map cannot tell apart, or is void too.
    """

    def __init__(
        self,
        root: Path,
        pairs: Sequence[Pairs],
        categories: Sequence[dict[str, Any]],
        *,
        void_ids: Sequence[int] = (),
        labels: LabelImage | None = None,
    ) -> None:
        self.root, self.pairs, self.labels = root, tuple(pairs), labels or IndexImage()
        self.void_ids = self.labels.void_ids.union(void_ids)
        self._categories = Categories.from_list(categories)
        things = [
            category.name
            for category in self._categories
            if category.isthing and not self.has_instances
        ]
        if things:
            raise ValueError(
                f"Expected stuff only, since a class map cannot tell objects apart, but got things {things} - set isthing: 0"
            )
        both = [key for key in sorted(self.void_ids) if key in self._categories]
        if both:
            raise ValueError(
                f"Expected void ids outside the category table, but got {both} in both - take them off one"
            )

    has_instances = False

    @property
    def categories(self) -> Categories:
        """As configured."""
        return self._categories

    def samples(self, findings: Findings) -> list[Sample]:
        """What the pairs find, one after the other; see `Source.samples`."""
        return [
            sample
            for pairs in self.pairs
            for sample in pairs.samples(self.root, findings, self.classes_of)
        ]

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """One segment per class; see `Source.read`."""
        try:
            return self._panoptic(self.labels.read(sample.labels, self.categories), sample)
        except ValueError as error:
            raise _located(error, sample.labels) from error

    def _panoptic(self, classes: Labels, sample: Sample) -> Panoptic:
        return panoptic_of_classes(classes, self.categories, void_ids=self.void_ids)


def _located(error: ValueError, path: Path) -> ValueError:
    """The error with the file in front, if it does not say it already."""
    return error if str(error).startswith(str(path.parent)) else ValueError(f"{path}: {error}")
