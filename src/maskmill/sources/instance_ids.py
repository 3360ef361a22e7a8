"""Instance data: an image and a label image whose pixel is the number of its object (microscopy, and most annotation tools)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.sources.finding import Findings
from maskmill.sources.images import read_label_image
from maskmill.sources.pairs import Pairs
from maskmill.sources.source import Sample, Source


class InstanceIds(Source):
    """Images with 8 or 16 bit number maps of objects of one class; 0 is no object.

    Args:
        root: the data set's folder.
        pairs: where images and number maps lie, and in which split.
        category: the objects' `id`, `name`, and if wanted `color`.
        void_ids: further numbers that stand for no object.
    """

    def __init__(
        self,
        root: Path,
        pairs: Sequence[Pairs],
        category: dict[str, Any],
        *,
        void_ids: Sequence[int] = (),
    ) -> None:
        self.root, self.pairs, self.void_ids = root, tuple(pairs), tuple(void_ids)
        self._categories = Categories.from_list([category | {"isthing": 1}])

    @property
    def categories(self) -> Categories:
        """The one category."""
        return self._categories

    def samples(self, findings: Findings) -> list[Sample]:
        """What the pairs find, one after the other; see `Source.samples`."""
        return [
            sample
            for pairs in self.pairs
            for sample in pairs.samples(self.root, findings, self.classes_of)
        ]

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """Segments with the numbers of the file; see `Source.read`."""
        ids = read_label_image(sample.labels)
        ids = np.where(np.isin(ids, self.void_ids), 0, ids) if self.void_ids else ids
        category_id = next(iter(self.categories)).id
        panoptic = Panoptic.from_ids(ids, dict.fromkeys(np.unique(ids).tolist(), category_id))
        if not panoptic.segments:
            findings.warn(
                sample.labels,
                "expected objects, but every pixel is background",
                "label the image, or keep it as a negative",
            )
        return panoptic
