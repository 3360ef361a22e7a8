"""Instance data: a folder per image with one 0/255 mask per object (Data Science Bowl 2018)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Interval

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import inside
from maskmill.canonical.panoptic import Panoptic
from maskmill.sources.finding import Findings
from maskmill.sources.folders import require_folder, visible_entries
from maskmill.sources.images import read_label_image, require_size
from maskmill.sources.pairs import UNASSIGNED
from maskmill.sources.source import Sample, Source
from maskmill.sources.splits import Split, as_split, require_every_split


class InstanceMasks(Source):
    """Folders `NAME/images/*.png` (one image) and `NAME/masks/*.png` (one object each).

    Pixels of no object are void. A pixel of two masks goes to the mask whose file name sorts first.
    If a mask loses more than `max_overlap` of its pixels that way, the image is refused, since one
    map cannot separate objects that truly overlap.

    Args:
        root: the data set's folder.
        folder: the parent of the folders of the images, relative to the root.
        category: the objects' `id`, `name`, and optionally `color`.
        splits: split -> share of the images, assigned by a hash of the name, or a rule of `splits`.
        max_overlap: share of a mask's pixels that may belong to other masks.
        threshold: for masks with smoothed borders: from this level on a pixel is of the object; by
            default each mask must have one value besides 0.
        seed: seed of the hash.

    Raises:
        ValueError: the shares do not sum to 1.
    """

    def __init__(
        self,
        root: Path,
        folder: str,
        category: dict[str, Any],
        splits: Mapping[str, float] | Split,
        *,
        max_overlap: Annotated[float, Interval(ge=0, lt=1)] = 0.1,
        threshold: Annotated[int, Ge(1)] | None = None,
        seed: int = 0,
    ) -> None:
        self.root = root
        self.folder = folder
        self.max_overlap = max_overlap
        self.threshold = threshold
        self.split = as_split(splits, seed=seed)
        self._categories = Categories.from_list([category | {"isthing": 1}])

    @property
    def categories(self) -> Categories:
        """The only category."""
        return self._categories

    def samples(self, findings: Findings) -> list[Sample]:
        """The folders sorted by name; see `Source.samples`."""
        parent = require_folder(inside(self.root, self.folder))
        samples = []
        for folder in filter(Path.is_dir, visible_entries(parent)):
            images = visible_entries(folder / "images") if (folder / "images").is_dir() else []
            if len(images) != 1:
                findings.error(
                    folder / "images",
                    f"expected one image, but found {len(images)}",
                    "keep the one that is labelled",
                )
                continue
            samples.append(Sample(UNASSIGNED, folder.name, str(images[0]), str(folder / "masks")))
        assigned = self.split.assign(samples, self.classes_of)
        return require_every_split(self.split.shares, assigned, parent)

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """Segments 1..N in the order of the masks' file names; see `Source.read`."""
        entries = visible_entries(sample.labels)
        paths = [path for path in entries if path.suffix.lower() == ".png"]
        if not paths:
            raise FileNotFoundError(
                f"{sample.labels}: expected a mask per object (*.png), but there is none - "
                "either label the image or remove it"
            )
        ids = np.zeros((0, 0), np.int32)
        for instance_id, path in enumerate(paths, start=1):
            mask = read_label_image(path)
            if self.threshold is not None:
                mask = (mask >= self.threshold).astype(np.int32)
            if instance_id == 1:
                ids = np.zeros(mask.shape, np.int32)
            require_size(mask.shape, ids.shape, path)
            ids[self._free_pixels(mask, ids, path)] = instance_id
        category_id = next(iter(self.categories)).id
        return Panoptic.from_ids(ids, dict.fromkeys(range(1, len(paths) + 1), category_id))

    def _free_pixels(
        self, mask: npt.NDArray[np.int32], ids: npt.NDArray[np.int32], path: Path
    ) -> npt.NDArray[np.bool_]:
        """The pixels of a mask that no earlier mask has, (H, W) bool."""
        area = np.count_nonzero(mask)
        if area == 0:
            raise ValueError(
                f"{path}: expected a mask of one object, but no pixel is set - remove the file"
            )
        if np.count_nonzero(mask == mask.max()) != area:
            raise ValueError(
                f"{path}: expected a mask of 0 and one other value, but got more values - "
                f"either set `threshold: {(mask.max() + 1) // 2}` in conf/source or save it "
                "without smoothing"
            )
        free: npt.NDArray[np.bool_] = (mask != 0) & (ids == 0)
        lost = 1 - np.count_nonzero(free) / area
        if lost > self.max_overlap:
            raise ValueError(
                f"{path}: expected separate objects, but {lost:.0%} of this one lie in earlier "
                "masks - either fix the masks or raise max_overlap above "
                f"{self.max_overlap} in conf/source"
            )
        return free
