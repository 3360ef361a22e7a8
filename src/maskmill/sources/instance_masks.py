"""Instance data: a folder per image with one 0/255 mask per object (Data Science Bowl 2018, "nuclei")."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import inside
from maskmill.canonical.panoptic import Panoptic
from maskmill.sources.finding import Findings
from maskmill.sources.folders import require_folder
from maskmill.sources.images import read_label_image, require_size
from maskmill.sources.source import Sample, Source
from maskmill.sources.splits import Split, require_each, split_of


class InstanceMasks(Source):
    """Folders `NAME/images/*.png` (one image) and `NAME/masks/*.png` (one object each); pixels of no object are void.

    A pixel that two masks claim goes to the one whose file name sorts first; where a mask loses more than `max_overlap` of its pixels
    that way, the image is refused, since objects that truly overlap cannot be told by one map.

    Args:
        root: the data set's folder.
        folder: where the folders of the images lie, relative to the root.
        category: the objects' `id`, `name`, and if wanted `color`.
        splits: split -> share of the images, dealt by hash of the name, or a rule of `splits`.
        max_overlap: share of a mask's pixels that may belong to others.
        seed: of the dealing.

    Raises:
        ValueError: the shares do not sum to 1, or `max_overlap` is not in 0..1.
    """

    def __init__(
        self,
        root: Path,
        folder: str,
        category: dict[str, Any],
        splits: Mapping[str, float] | Split,
        *,
        max_overlap: float = 0.1,
        seed: int = 0,
    ) -> None:
        if not 0 <= max_overlap < 1:
            raise ValueError(
                f"Expected `max_overlap` in 0..1 (below 1), but got {max_overlap} - mend conf/source"
            )
        self.root, self.folder, self.max_overlap = root, folder, max_overlap
        self._categories = Categories.from_list([category | {"isthing": 1}])
        self.split = split_of(splits, seed=seed)

    @property
    def categories(self) -> Categories:
        """The one category."""
        return self._categories

    def samples(self, findings: Findings) -> list[Sample]:
        """The folders in the order of their names; see `Source.samples`."""
        parent = require_folder(inside(self.root, self.folder))
        samples = []
        for folder in sorted(path for path in parent.iterdir() if path.is_dir()):
            images = sorted((folder / "images").glob("*"))
            if len(images) != 1:
                findings.error(
                    folder / "images",
                    f"expected one image, but found {len(images)}",
                    "leave the one that is labelled",
                )
                continue
            samples.append(Sample("", folder.name, images[0], folder / "masks"))
        return require_each(self.split.shares, self.split.deal(samples, self.classes_of), parent)

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """Segments 1..N in the order of the masks' file names; see `Source.read`."""
        paths = sorted(require_folder(sample.labels).glob("*.png"))
        if not paths:
            raise FileNotFoundError(
                f"{sample.labels}: expected a mask per object (*.png), but there is none - label the image or remove it"
            )
        ids = np.zeros((0, 0), np.int32)
        for number, path in enumerate(paths, start=1):
            mask = read_label_image(path)
            ids = np.zeros(mask.shape, np.int32) if number == 1 else ids
            require_size(mask.shape, ids.shape, path)
            area = np.count_nonzero(mask)
            if area == 0:
                raise ValueError(
                    f"{path}: expected a mask of one object, but no pixel is set - remove the file"
                )
            if np.count_nonzero(mask == mask.max()) != area:
                raise ValueError(
                    f"{path}: expected a mask of 0 and one other value, but got more values - save it without smoothing"
                )
            free = (mask != 0) & (ids == 0)
            lost = 1 - np.count_nonzero(free) / area
            if lost > self.max_overlap:
                raise ValueError(
                    f"{path}: expected objects apart, but {lost:.0%} of this one lie in earlier masks - "
                    f"mend the masks or raise max_overlap above {self.max_overlap} in conf/source"
                )
            ids[free] = number
        category_id = next(iter(self.categories)).id
        return Panoptic.from_ids(ids, dict.fromkeys(range(1, len(paths) + 1), category_id))
