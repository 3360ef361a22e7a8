"""Semantic data: an image, and a label image whose pixels are classes.

CamVid, ADE20K's challenge form, Clothing Co-Parsing and most other data sets have this form.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.sources.class_maps import labelled_classes, panoptic_from_classes
from maskmill.sources.finding import Findings
from maskmill.sources.label_images import IndexImage, LabelImage, Labels
from maskmill.sources.pairs import Pairs, list_samples
from maskmill.sources.source import Sample, Source


class ClassMasks(Source):
    """Images with label images.

    Args:
        root: the data set's folder.
        pairs: where images and labels are, and in which split.
        categories: rows of `id`, `name`, and optionally `color`.
        void_ids: values that mean "not labelled".
        labels: how a label image encodes classes; by default as gray levels or palette indices.

    Raises:
        ValueError: a category is a thing, or is void too.
    """

    has_instances = False

    def __init__(
        self,
        root: Path,
        pairs: Sequence[Pairs],
        categories: Sequence[dict[str, Any]],
        *,
        void_ids: Sequence[int] = (),
        labels: LabelImage | None = None,
    ) -> None:
        self.root = root
        self.pairs = tuple(pairs)
        self.labels = labels or IndexImage()
        self.void_ids = self.labels.void_ids.union(void_ids)
        self._categories = Categories.from_list(categories)
        things = [category.name for category in self._categories if category.isthing]
        if things and not self.has_instances:
            raise ValueError(
                "Expected stuff only, since a class mask cannot separate objects, but got things "
                f"{things} - set isthing: 0"
            )
        both = [void_id for void_id in sorted(self.void_ids) if void_id in self._categories]
        if both:
            raise ValueError(
                "Expected void ids that are not in the category table, but got "
                f"{both} in both - remove them from one"
            )

    @property
    def categories(self) -> Categories:
        """The configured categories."""
        return self._categories

    def samples(self, findings: Findings) -> list[Sample]:
        """The samples of all pairs, in the order of the pairs; see `Source.samples`."""
        return list_samples(self.pairs, self.root, findings, self.classes_of)

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """One segment per class; see `Source.read`."""
        try:
            return self._panoptic(self.labels.read(sample.labels, self.categories), sample)
        except ValueError as error:
            if str(error).startswith(tuple(map(str, self.files(sample)))):
                raise  # the message starts with a file already
            raise ValueError(f"{sample.labels}: {error}") from error

    def classes_of(self, sample: Sample) -> set[int]:
        """The classes in the mask, without their segments; see `Source.classes_of`."""
        if self.has_instances:
            return super().classes_of(sample)
        try:
            classes = self.labels.read(sample.labels, self.categories)
            return set(labelled_classes(classes, self.categories, void_ids=self.void_ids))
        except (ValueError, OSError):
            return set()  # the conversion reports the problem

    def _panoptic(self, classes: Labels, sample: Sample) -> Panoptic:
        return panoptic_from_classes(classes, self.categories, void_ids=self.void_ids)
