"""Panoptic data: a class map, and beside it a map that numbers the things (PASCAL VOC, Cityscapes)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from maskmill.canonical.panoptic import Panoptic
from maskmill.sources.class_maps import panoptic_of_instances
from maskmill.sources.class_masks import ClassMasks
from maskmill.sources.images import read_label_image, require_size
from maskmill.sources.label_images import LabelImage, Labels
from maskmill.sources.pairs import Pairs
from maskmill.sources.source import Sample


class ThingMasks(ClassMasks):
    """Images with class maps and number maps; numbers on void do not count.

    Args:
        root: see `ClassMasks`.
        pairs: images and their class maps.
        categories: see `ClassMasks`; things have `isthing: 1`.
        instances: what to replace in a class map's path, relative to the root, to get the path of its number map.
        void_ids: see `ClassMasks`.
        first_number: lower values of a number map number nothing.
        unnumbered: whether things without a number are a fault, or a crowd.
        labels: see `ClassMasks`.

    Raises:
        ValueError: as `ClassMasks`, or `first_number` is below 1.
    """

    has_instances = True

    def __init__(
        self,
        root: Path,
        pairs: Sequence[Pairs],
        categories: Sequence[dict[str, Any]],
        instances: Mapping[str, str],
        *,
        void_ids: Sequence[int] = (),
        first_number: int = 1,
        unnumbered: Literal["error", "crowd"] = "error",
        labels: LabelImage | None = None,
    ) -> None:
        super().__init__(root, pairs, categories, void_ids=void_ids, labels=labels)
        if first_number < 1:
            raise ValueError(
                f"Expected `first_number` of at least 1, but got {first_number} - mend conf/source"
            )
        self.instances, self.first_number, self.unnumbered = (
            dict(instances),
            first_number,
            unnumbered,
        )

    def number_map(self, sample: Sample) -> Path:
        """Where the number map of a sample lies."""
        name = sample.labels.relative_to(self.root).as_posix()
        for old, new in self.instances.items():
            name = name.replace(old, new)
        return self.root / name

    def files(self, sample: Sample) -> tuple[Path, ...]:
        """The image and both maps."""
        return sample.image, sample.labels, self.number_map(sample)

    def _panoptic(self, classes: Labels, sample: Sample) -> Panoptic:
        path = self.number_map(sample)
        numbers = read_label_image(path)
        require_size(numbers.shape, classes.shape, path)
        numbers = np.where(
            (numbers < self.first_number) | np.isin(classes, sorted(self.void_ids)), 0, numbers
        )
        try:
            return panoptic_of_instances(
                classes,
                numbers,
                self.categories,
                void_ids=self.void_ids,
                unnumbered=self.unnumbered,
            )
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
