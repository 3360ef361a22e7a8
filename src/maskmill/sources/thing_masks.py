"""Panoptic data: a class mask, and an instance-id mask beside it (PASCAL VOC, Cityscapes)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge

from maskmill.canonical.panoptic import Panoptic
from maskmill.sources.class_maps import panoptic_from_instances
from maskmill.sources.class_masks import ClassMasks
from maskmill.sources.images import read_label_image, require_size
from maskmill.sources.label_images import LabelImage, Labels
from maskmill.sources.pairs import Pairs
from maskmill.sources.source import Sample


class ThingMasks(ClassMasks):
    """Images with class masks and instance-id masks; instance ids on void are ignored.

    Args:
        root: the data set's folder.
        pairs: where images and class masks are, and in which split.
        categories: rows of `id`, `name`, `isthing`, and optionally `color`.
        instances: what to replace in the path of a class mask, relative to the root, to get the
            path of its instance-id mask.
        void_ids: class values that mean "not labelled".
        min_instance_id: lower values of an instance-id mask mean "no instance".
        unnumbered: whether thing pixels without an instance id are an error, or a crowd.
        labels: how a class mask encodes classes; by default as gray levels or palette indices.

    Raises:
        ValueError: a category is void too.
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
        min_instance_id: Annotated[int, Ge(1)] = 1,
        unnumbered: Literal["error", "crowd"] = "error",
        labels: LabelImage | None = None,
    ) -> None:
        super().__init__(root, pairs, categories, void_ids=void_ids, labels=labels)
        self.instances = dict(instances)
        self.min_instance_id = min_instance_id
        self.unnumbered: Literal["error", "crowd"] = unnumbered

    def instance_path(self, sample: Sample) -> Path:
        """The path of the instance-id mask of a sample."""
        name = sample.labels.relative_to(self.root).as_posix()
        for old, new in self.instances.items():
            name = name.replace(old, new)
        return self.root / name

    def files(self, sample: Sample) -> tuple[Path, ...]:
        """The image and both masks."""
        return sample.image, sample.labels, self.instance_path(sample)

    def _panoptic(self, classes: Labels, sample: Sample) -> Panoptic:
        path = self.instance_path(sample)
        instances = read_label_image(path)
        require_size(instances.shape, classes.shape, path)
        is_void = np.isin(classes, sorted(self.void_ids))
        instances = np.where((instances < self.min_instance_id) | is_void, 0, instances)
        try:
            return panoptic_from_instances(
                classes,
                instances,
                self.categories,
                void_ids=self.void_ids,
                unnumbered=self.unnumbered,
            )
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
