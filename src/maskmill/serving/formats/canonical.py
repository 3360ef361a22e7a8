"""The canonical format: panoptic/ + panoptic.json, semantic/, instances.json."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import write_json_list
from maskmill.canonical.folder import ImageRecord, IndexWriter, annotation, png_name
from maskmill.canonical.png import RGB, ids_to_png, labels_to_png
from maskmill.metrics.functional.mask_ap import coco_results
from maskmill.postprocess.prediction import Prediction
from maskmill.serving.output_format import Entry, Rows


class Canonical:
    """COCO panoptic, COCO results of the things, and a PNG of category ids per image.

    If every category is a thing, there is no semantic/: background pixels have no class.

    Args:
        categories: of the model.
    """

    def __init__(self, *, categories: Categories) -> None:
        self.categories = categories

    def entry(self, record: ImageRecord, image: RGB, prediction: Prediction) -> Entry:
        """The PNGs of one image; see `OutputFormat`."""
        name = png_name(record)
        files = {f"panoptic/{name}": ids_to_png(prediction.panoptic.ids)}
        if self.categories.background_index is None:
            files[f"semantic/{name}"] = labels_to_png(prediction.semantic, name)
        row = {
            "annotation": annotation(record, prediction.panoptic),
            "instances": list(coco_results(prediction.panoptic, self.categories)),
        }
        return Entry(files, row)

    def finish(self, folder: Path, rows: Rows) -> None:
        """Write instances.json and panoptic.json; see `OutputFormat`."""
        index = IndexWriter(folder, self.categories)
        write_json_list(folder / "instances.json", with_image_ids(_indexed(rows, index)))
        index.close()


def _indexed(rows: Rows, index: IndexWriter) -> Rows:
    """The rows; the index gets their annotations as they pass."""
    for record, row in rows:
        index.add(record, row["annotation"])
        yield record, row


def with_image_ids(rows: Rows) -> Iterator[dict[str, Any]]:
    """COCO results of all images."""
    for record, row in rows:
        for result in row["instances"]:
            yield {"image_id": record.id, **result}
