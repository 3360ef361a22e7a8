"""Instance data: an image, and a label image whose pixels are instance ids.

Microscopy and most annotation tools write this form.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.sources.finding import Findings
from maskmill.sources.images import read_label_image
from maskmill.sources.pairs import Pairs, list_samples
from maskmill.sources.source import Sample, Source


class InstanceIds(Source):
    """Images with 8 or 16 bit instance-id masks of objects of one class; 0 is background.

    Args:
        root: the data set's folder.
        pairs: where images and instance-id masks are, and in which split.
        category: the objects' `id`, `name`, and optionally `color`.
        void_ids: further values that mean "no object".
    """

    def __init__(
        self,
        root: Path,
        pairs: Sequence[Pairs],
        category: dict[str, Any],
        *,
        void_ids: Sequence[int] = (),
    ) -> None:
        self.root = root
        self.pairs = tuple(pairs)
        self.void_ids = tuple(void_ids)
        self._categories = Categories.from_list([category | {"isthing": 1}])

    @property
    def categories(self) -> Categories:
        """The only category."""
        return self._categories

    def samples(self, findings: Findings) -> list[Sample]:
        """The samples of all pairs, in the order of the pairs; see `Source.samples`."""
        return list_samples(self.pairs, self.root, findings, self.classes_of)

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """Segments with the instance ids of the file; see `Source.read`."""
        ids = read_label_image(sample.labels)
        if self.void_ids:
            ids = np.where(np.isin(ids, self.void_ids), 0, ids)
        category_id = next(iter(self.categories)).id
        panoptic = Panoptic.from_ids(ids, dict.fromkeys(np.unique(ids).tolist(), category_id))
        if not panoptic.segments:
            findings.warn(
                sample.labels,
                "expected objects, but every pixel is background",
                "either label the image or keep it as a negative example",
            )
        return panoptic
