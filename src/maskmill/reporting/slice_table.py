"""Parts of the data set, each with its numbers."""

from collections.abc import Sequence
from html import escape

from maskmill.evaluation.analysis import SLICE_METRICS, Slice
from maskmill.reporting.markup import bar, table

DEFINITION = (
    "Object size: things by their true area, an unmatched prediction by its own; small below 32 x 32 pixels, large from 96 x 96, as in "
    "COCO. Crowding: true things in the image. Brightness: thirds of the images by mean luma, 0 to 255. Lines in the bars: 95 % of "
    "resamples of the slice's images."
)


def slice_table(slices: Sequence[Slice]) -> str:
    """A row per slice, under the name of its slicing."""
    if not slices:
        return ""
    metrics = [metric for metric in SLICE_METRICS if any(metric in part.scores for part in slices)]
    rows = []
    for slicing in dict.fromkeys(part.slicing for part in slices):
        rows.append(f'<th colspan="{3 + len(metrics)}">{escape(slicing)}</th>')
        for part in (part for part in slices if part.slicing == slicing):
            cells = "".join(
                bar(part.scores.get(metric), part.bounds.get(metric)) for metric in metrics
            )
            rows.append(
                f"<td>{escape(part.name)}</td><td>{part.num_images}</td><td>{part.num_segments}</td>{cells}"
            )
    return f"{table(('slice', 'images', 'segments', *metrics), rows)}<p>{DEFINITION}</p>"
