"""Label images: semantic/ with category ids, instances/ with numbers of things, labels.json."""

from pathlib import Path

import numpy as np

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import write_json
from maskmill.canonical.folder import ImageRecord, png_name
from maskmill.canonical.panoptic import VOID_CATEGORY
from maskmill.canonical.png import RGB, labels_to_png
from maskmill.canonical.runs import relabel
from maskmill.postprocess.prediction import Prediction
from maskmill.serving.output_format import Entry, Rows


class Labels:
    """Gray PNGs that any image library reads: of 8 bits if the values fit, else of 16.

    semantic/ has the category id of each pixel. instances/ has the things of an image as 1, 2, ...
    and 0 elsewhere; it is left out if no category is a thing. labels.json has the category table
    and the value of background, which only models of things alone predict: 0 if no category has
    this id, else the lowest free value.

    Args:
        categories: of the model.
    """

    def __init__(self, *, categories: Categories) -> None:
        self.categories = categories
        used = set(categories.ids.tolist())
        self.background = next(value for value in range(len(used) + 1) if value not in used)

    def entry(self, record: ImageRecord, image: RGB, prediction: Prediction) -> Entry:
        """The PNGs of one image; see `OutputFormat`."""
        name = png_name(record)
        is_background = prediction.semantic == VOID_CATEGORY
        semantic = np.where(is_background, self.background, prediction.semantic)
        files = {f"semantic/{name}": labels_to_png(semantic, name)}
        if self.categories.isthing.any():
            instances = relabel(prediction.panoptic.ids, self._number_of(prediction), default=0)
            files[f"instances/{name}"] = labels_to_png(instances, name)
        return Entry(files)

    def _number_of(self, prediction: Prediction) -> dict[int, int]:
        """Segment id of each thing -> its number in the image."""
        number_of: dict[int, int] = {}
        for segment in prediction.panoptic.segments:
            if self.categories[segment.category_id].isthing:
                number_of[segment.id] = len(number_of) + 1
        return number_of

    def finish(self, folder: Path, rows: Rows) -> None:
        """Write labels.json; see `OutputFormat`."""
        has_background = self.categories.background_index is not None
        background = self.background if has_background else None
        content = {"categories": self.categories.as_list(), "background": background}
        write_json(folder / "labels.json", content)
