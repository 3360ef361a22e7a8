"""An evaluation as JSON and CSV files, for programs and spreadsheets."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maskmill.canonical.files import write_json
from maskmill.evaluation.analysis import SLICE_METRICS, Analysis
from maskmill.evaluation.bootstrap import Interval
from maskmill.evaluation.comparison import Difference
from maskmill.evaluation.csv_cells import protect
from maskmill.evaluation.evaluation import Evaluation
from maskmill.evaluation.image_counts import FIELDS, LATER_FIELDS, Field
from maskmill.metrics.functional.confusion_matrix import class_areas, intersection_over_union
from maskmill.metrics.functional.panoptic_quality import LOSSES, panoptic_losses, panoptic_per_class

Row = dict[str, object]
Floats = npt.NDArray[np.float64]
CLASS_SCORES = ("PQ", "SQ", "RQ", "IoU", "boundary_IoU", "AP")
CLASS_INTERVALS = ("PQ", "IoU", "AP")
IMAGE_SCORES = ("PQ", "mIoU", "pixel_accuracy")
SEGMENT_FIELDS = [Field.TP, Field.FP, Field.FN]
# In headlines.json: each is a column of `dvc metrics show` and `dvc exp show`.
SHOWN = ("PQ", "SQ", "RQ", "PQ/thing", "PQ/stuff", "mIoU", "pixel_accuracy", "AP", "AP50", "ECE")
SLICE_COLUMNS = ("slicing", "slice", "images", "segments")
EMPTY = ""  # the cell of a missing value


def write_tables(out: Path, analysis: Analysis) -> None:
    """Write the tables; values are fractions, the cell of a missing value is empty.

    A name that a spreadsheet would take for a formula begins with an apostrophe; see `protect`.
    metrics.json, headlines.json, per_class.csv, per_image.csv, counts.csv, confusion.csv and
    slices.csv; with a baseline also differences.csv.
    """
    evaluation = analysis.evaluation
    metrics = _metrics(analysis)
    write_json(out / "metrics.json", metrics)
    headlines = {name: metrics[name] for name in SHOWN if metrics.get(name) is not None}
    write_json(out / "headlines.json", headlines)
    _write_rows(out / "per_class.csv", per_class_rows(analysis))
    _write_rows(out / "per_image.csv", per_image_rows(analysis))
    _write_rows(out / "counts.csv", _count_rows(analysis))
    _write_rows(out / "slices.csv", _slice_rows(analysis))
    if analysis.baseline is not None:
        _write_rows(out / "differences.csv", difference_rows(analysis.differences))
    _write_lines(out / "confusion.csv", _confusion_lines(evaluation))


def _metrics(analysis: Analysis) -> dict[str, object]:
    metrics: dict[str, object] = {"num_images": len(analysis.evaluation.images)}
    metrics |= analysis.scores
    if analysis.resampling.num_resamples:
        # Lists, which `dvc metrics` leaves out: its table stays at one number per metric.
        intervals = {}
        for name in analysis.scores:
            if name in analysis.bounds:
                intervals[name] = list(analysis.bounds[name])
        metrics["interval"] = intervals
    return metrics


def _confusion_lines(evaluation: Evaluation) -> list[list[object]]:
    """The confusion matrix with names; lists, since a category may be called "target" or "void"."""
    names = [category.name for category in evaluation.categories]
    names.append("background" if evaluation.background else "void")
    lines: list[list[object]] = [["target", *names]]
    for name, counts in zip(names, evaluation.confusion.tolist(), strict=True):
        lines.append([name, *counts])
    return lines


def per_class_rows(analysis: Analysis) -> list[Row]:
    """One row per category: scores and intervals, counts, and what PQ lacks by reason."""
    evaluation = analysis.evaluation
    areas = class_areas(evaluation.confusion, background=evaluation.background)
    iou = intersection_over_union(*areas)
    boundary_iou = intersection_over_union(*evaluation.boundary.T)
    pixels = evaluation.confusion.sum(axis=1)
    panoptic = panoptic_per_class(evaluation.counts)
    losses = panoptic_losses(evaluation.counts)
    bounds = {metric: analysis.class_bounds(metric) for metric in CLASS_INTERVALS}
    rows = []
    for index, category in enumerate(evaluation.categories):
        pq, sq, rq = panoptic[index]
        ap = evaluation.ap.per_class.get(category.id, float("nan"))
        row: Row = {
            "category": category.name,
            "id": category.id,
            "isthing": int(category.isthing),
        }
        values = (pq, sq, rq, iou[index], boundary_iou[index], ap)
        for metric, value in zip(CLASS_SCORES, values, strict=True):
            if evaluation.has(metric):
                row[metric] = _float_cell(value)
        row |= _segment_cells(evaluation.counts[index, 1:4])
        row["pixels"] = int(pixels[index])
        if evaluation.has("PQ"):
            for loss, share in zip(LOSSES, losses[index], strict=True):
                row[f"lost_{loss}"] = _float_cell(share)
        for metric, class_bounds in bounds.items():
            if evaluation.has(metric):
                row |= _bound_cells(metric, class_bounds[index])
        rows.append(row)
    return rows


def per_image_rows(analysis: Analysis) -> Iterator[Row]:
    """One row per image: its own scores, and its numbers of segments that are TP, FP and FN."""
    counts = analysis.image_counts
    scores = counts.score_each()
    metrics = list(filter(analysis.evaluation.has, IMAGE_SCORES))
    num_segments = counts.table[:, :-1, SEGMENT_FIELDS].sum(axis=1)
    for index, name in enumerate(counts.images):
        row: Row = {"image": name}
        for metric in metrics:
            row[metric] = _float_cell(scores[metric][index])
        yield row | _segment_cells(num_segments[index])


def _count_rows(analysis: Analysis) -> Iterator[Row]:
    """The counts of each image and category that are not all zero: enough to score any resample.

    An image without any has a row of zeros, since two models are compared on the same images.
    """
    sums = analysis.image_counts
    fields = (*FIELDS, *LATER_FIELDS)
    counts = sums.table[:, :-1]  # (N images, K, fields), without unlabelled pixels
    is_written = np.any(counts, axis=2)
    is_written[:, 0] |= ~np.any(is_written, axis=1)
    for image, category in map(np.ndarray.tolist, np.argwhere(is_written)):
        row: Row = {
            "image": sums.images[image],
            "category": sums.categories[category],
            "isthing": int(sums.isthing[category]),
        }
        for field, value in zip(fields, counts[image, category].tolist(), strict=True):
            if not field.startswith("boundary_") or analysis.evaluation.has(field):
                row[field] = value if field == "iou_sum" else int(value)
        yield row


def _slice_rows(analysis: Analysis) -> list[Row]:
    rows: list[Row] = []
    for part in analysis.slices:
        cells = (part.slicing, part.name, part.num_images, part.num_segments)
        row: Row = dict(zip(SLICE_COLUMNS, cells, strict=True))
        for metric in SLICE_METRICS:
            if analysis.evaluation.has(metric):
                row[metric] = part.scores.get(metric, EMPTY)
                row |= _bound_cells(metric, part.bounds.get(metric))
        rows.append(row)
    return rows or [dict.fromkeys(SLICE_COLUMNS, EMPTY)]


def difference_rows(differences: Iterable[Difference]) -> list[Row]:
    """One row per number: of all images, of each class, of each image."""
    rows = []
    for difference in differences:
        row: Row = {
            "kind": difference.kind,
            "name": difference.name,
            "metric": difference.metric,
            "value": _optional_cell(difference.value),
            "baseline": _optional_cell(difference.baseline),
            "difference": _optional_cell(difference.difference),
        }
        row |= _bound_cells("difference", difference.bounds)
        row["leads"] = _optional_cell(difference.leads)
        rows.append(row)
    return rows


def _segment_cells(counts: Floats) -> Row:
    """The numbers of segments: true positives, false positives, false negatives."""
    tp, fp, fn = counts.tolist()
    return {"tp": int(tp), "fp": int(fp), "fn": int(fn)}


def _bound_cells(metric: str, bounds: Interval | None) -> Row:
    low, high = bounds or (EMPTY, EMPTY)
    return {f"{metric}_low": low, f"{metric}_high": high}


def _optional_cell(value: float | None) -> float | str:
    return EMPTY if value is None else value


def _float_cell(value: float) -> float | str:
    return EMPTY if np.isnan(value) else float(value)


def _write_rows(path: Path, rows: Iterable[Row]) -> None:
    _write_lines(path, _lines_of(rows))


def _lines_of(rows: Iterable[Row]) -> Iterator[Sequence[object]]:
    """The names of the columns, then the cells of each row."""
    for index, row in enumerate(rows):
        if not index:
            yield list(row)
        yield list(row.values())


def _protected(cell: object) -> object:
    return protect(cell) if isinstance(cell, str) else cell


def _write_lines(path: Path, lines: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:  # the folder appears as a whole
        writer = csv.writer(file, lineterminator="\n")
        for line in lines:
            writer.writerow(map(_protected, line))
