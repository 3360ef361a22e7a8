"""COCO results: instances.json, the things of all images with their masks and scores."""

from pathlib import Path

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import write_json_list
from maskmill.canonical.folder import ImageRecord
from maskmill.canonical.png import RGB
from maskmill.metrics.functional.mask_ap import coco_results
from maskmill.postprocess.prediction import Prediction
from maskmill.serving.formats.canonical import with_image_ids
from maskmill.serving.output_format import Entry, Rows


class Coco:
    """What COCO's evaluator and its server read: image_id, category_id, RLE mask and score.

    Args:
        categories: of the model.

    Raises:
        ValueError: the model has no thing, so there would be no result.
    """

    def __init__(self, *, categories: Categories) -> None:
        if not categories.isthing.any():
            raise ValueError(
                "Expected a model of things for output=coco, but all its categories are stuff - "
                "choose another format, as output=labels"
            )
        self.categories = categories

    def entry(self, record: ImageRecord, image: RGB, prediction: Prediction) -> Entry:
        """The results of one image; see `OutputFormat`."""
        results = list(coco_results(prediction.panoptic, self.categories))
        return Entry(row={"instances": results})

    def finish(self, folder: Path, rows: Rows) -> None:
        """Write instances.json; see `OutputFormat`."""
        write_json_list(folder / "instances.json", with_image_ids(rows))
