"""CVAT pre-annotations: annotations.xml in the format "CVAT for images 1.1", with masks."""

from pathlib import Path
from typing import IO
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from maskmill.canonical.categories import Categories
from maskmill.canonical.folder import ImageRecord
from maskmill.canonical.panoptic import Panoptic, Segment
from maskmill.canonical.png import RGB
from maskmill.canonical.runs import run_lengths, run_starts
from maskmill.postprocess.prediction import Prediction
from maskmill.serving.output_format import Entry, Rows


class Cvat:
    """What "Upload annotations" of a task with these images reads: a mask for each segment.

    The labels of the task must have the names of the categories; labels.txt lists them.

    Args:
        categories: of the model.
    """

    def __init__(self, *, categories: Categories) -> None:
        self.categories = categories

    def entry(self, record: ImageRecord, image: RGB, prediction: Prediction) -> Entry:
        """The masks of one image; see `OutputFormat`."""
        panoptic = prediction.panoptic
        return Entry(row=[self._mask(panoptic, segment) for segment in panoptic.segments])

    def _mask(self, panoptic: Panoptic, segment: Segment) -> str:
        """The runs of a mask's box row by row, beginning with background."""
        left, top, width, height = segment.bbox
        box = panoptic.ids[top : top + height, left : left + width]
        values = (box == segment.id).astype(np.int32).reshape(-1)
        starts = run_starts(values)
        lengths = run_lengths(starts, values.size).tolist()
        counts = [0, *lengths] if values[0] else lengths
        label = quoteattr(self.categories[segment.category_id].name)
        rle = ", ".join(map(str, counts))
        return (
            f'<mask label={label} source="auto" occluded="0" rle="{rle}" left="{left}" '
            f'top="{top}" width="{width}" height="{height}" z_order="0"></mask>'
        )

    def finish(self, folder: Path, rows: Rows) -> None:
        """Write annotations.xml and labels.txt; see `OutputFormat`."""
        with (folder / "annotations.xml").open("w", encoding="utf-8") as file:
            self._write(file, rows)
        names = [f"{category.name}\n" for category in self.categories]
        (folder / "labels.txt").write_text("".join(names), encoding="utf-8")

    def _write(self, file: IO[str], rows: Rows) -> None:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n')
        file.write("<version>1.1</version>\n<meta><task><mode>annotation</mode><labels>\n")
        for category in self.categories:
            color = "#{:02x}{:02x}{:02x}".format(*category.color)
            name = escape(category.name)
            file.write(f"<label><name>{name}</name><color>{color}</color><type>mask</type></label>")
        file.write("\n</labels></task></meta>\n")
        for index, (record, masks) in enumerate(rows):
            name = quoteattr(record.file_name)
            size = f'width="{record.width}" height="{record.height}"'
            file.write(f'<image id="{index}" name={name} {size}>\n')
            file.writelines(f"{mask}\n" for mask in masks)
            file.write("</image>\n")
        file.write("</annotations>\n")
