"""Predictions drawn over their images, beside those of any format."""

from dataclasses import replace
from pathlib import Path

from maskmill.canonical.categories import Categories
from maskmill.canonical.folder import ImageRecord
from maskmill.canonical.png import RGB
from maskmill.postprocess.prediction import Prediction
from maskmill.reporting.drawing import overlay
from maskmill.reporting.pictures import jpeg_bytes
from maskmill.serving.output_format import Entry, OutputFormat, Rows


class WithOverlays:
    """A format that also writes overlays/*.jpg: category colours, and borders of segments.

    Args:
        output_format: writes everything else.
        categories: of the model.
    """

    def __init__(self, output_format: OutputFormat, categories: Categories) -> None:
        self.output_format = output_format
        self.categories = categories

    def entry(self, record: ImageRecord, image: RGB, prediction: Prediction) -> Entry:
        """The files of one image and its picture; see `OutputFormat`."""
        entry = self.output_format.entry(record, image, prediction)
        name = Path(record.file_name).with_suffix(".jpg").as_posix()
        picture = jpeg_bytes(overlay(image, prediction.panoptic, self.categories))
        return replace(entry, files=entry.files | {f"overlays/{name}": picture})

    def finish(self, folder: Path, rows: Rows) -> None:
        """Write the files of all images; see `OutputFormat`."""
        self.output_format.finish(folder, rows)
