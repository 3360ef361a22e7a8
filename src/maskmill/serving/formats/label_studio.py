"""Label Studio pre-annotations: tasks.json to import, and its labelling configuration."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import write_json_list, write_text
from maskmill.canonical.folder import ImageRecord
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import RGB
from maskmill.canonical.runs import run_lengths, run_starts
from maskmill.postprocess.prediction import Prediction
from maskmill.serving.output_format import Entry, Rows

FROM_NAME = "segments"  # the names that configuration and results share
TO_NAME = "image"
NUM_CHANNELS = 4  # a brush mask is an RGBA image
OPAQUE = 255
WORD_BITS = 8
RUN_BITS = (3, 4, 8, 16)  # lengths of runs are stored in one of these sizes


class LabelStudio:
    """Tasks with one prediction each, whose results are brush masks: exactly the segments.

    Args:
        categories: of the model.
        url: what comes before an image's name, as `/data/local-files/?d=photos/` for files that
            Label Studio serves itself.
    """

    def __init__(self, *, categories: Categories, url: str = "/data/local-files/?d=") -> None:
        self.categories = categories
        self.url = url

    def entry(self, record: ImageRecord, image: RGB, prediction: Prediction) -> Entry:
        """The task of one image; see `OutputFormat`."""
        results = list(self._results(prediction.panoptic))
        scores = [result["score"] for result in results if result["score"] is not None]
        mean = sum(scores) / len(scores) if scores else 0.0
        return Entry(row={"model_version": "maskmill", "score": mean, "result": results})

    def _results(self, panoptic: Panoptic) -> Iterator[dict[str, Any]]:
        height, width = panoptic.size
        for segment in panoptic.segments:
            rle = encode_brush(panoptic.ids == segment.id)
            labels = [self.categories[segment.category_id].name]
            yield {
                "id": f"segment-{segment.id}",
                "type": "brushlabels",
                "from_name": FROM_NAME,
                "to_name": TO_NAME,
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "score": segment.score,
                "value": {"format": "rle", "rle": rle, "brushlabels": labels},
            }

    def finish(self, folder: Path, rows: Rows) -> None:
        """Write tasks.json and config.xml; see `OutputFormat`."""
        write_json_list(folder / "tasks.json", self._tasks(rows))
        write_text(folder / "config.xml", self._configuration())

    def _tasks(self, rows: Rows) -> Iterator[dict[str, Any]]:
        for record, prediction in rows:
            data = {"image": f"{self.url}{record.file_name}"}
            yield {"data": data, "predictions": [prediction]}

    def _configuration(self) -> str:
        lines = ["<View>", f'  <Image name="{TO_NAME}" value="$image"/>']
        lines.append(f'  <BrushLabels name="{FROM_NAME}" toName="{TO_NAME}">')
        for category in self.categories:
            color = "#{:02x}{:02x}{:02x}".format(*category.color)
            lines.append(f'    <Label value={quoteattr(category.name)} background="{color}"/>')
        return "\n".join([*lines, "  </BrushLabels>", "</View>", ""])


def encode_brush(mask: npt.NDArray[np.bool_]) -> list[int]:
    """A mask as Label Studio's brush: the packed run lengths (rle-pack) of an RGBA image.

    The header has the number of values (32 bits), the bits per value and per length of run. Each
    run then has a 1 bit, the index of the size of its length, its length less 1, and its value.

    Args:
        mask: (H, W).

    Returns:
        bytes.
    """
    values = mask.astype(np.int32).reshape(-1)
    starts = run_starts(values)
    lengths = run_lengths(starts, values.size)
    bits = [f"{NUM_CHANNELS * values.size:032b}{WORD_BITS - 1:05b}"]
    bits += [f"{size - 1:04b}" for size in RUN_BITS]
    for value, length in zip(values[starts].tolist(), lengths.tolist(), strict=True):
        bits += _run(NUM_CHANNELS * length, OPAQUE * value)
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8))


def _run(length: int, value: int) -> Iterator[str]:
    """The bits of a run of equal values, in as many pieces as the largest size requires."""
    longest = 1 << RUN_BITS[-1]
    while length > 0:
        piece = min(length, longest)
        index = next(i for i, size in enumerate(RUN_BITS) if piece <= 1 << size)
        yield f"1{index:02b}{piece - 1:0{RUN_BITS[index]}b}{value:0{WORD_BITS}b}"
        length -= piece
