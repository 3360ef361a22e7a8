"""An evaluation as files for programs and spreadsheets."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from maskmill.canonical.files import write_json, write_text
from maskmill.evaluation.analysis import SLICE_METRICS, Analysis
from maskmill.evaluation.bootstrap import Interval
from maskmill.evaluation.comparison import Difference
from maskmill.evaluation.evaluation import Evaluation
from maskmill.evaluation.image_counts import FIELDS, LATER_FIELDS, ImageCounts
from maskmill.evaluation.image_scores import ImageScores
from maskmill.metrics.functional.confusion_matrix import class_areas, intersection_over_union
from maskmill.metrics.functional.panoptic_quality import LOSSES, panoptic_losses, panoptic_per_class

Row = dict[str, object]


def write_tables(out: Path, analysis: Analysis) -> None:
    """Write the tables; fractions, an empty cell for what does not occur.

    metrics.json, per_class.csv, per_image.csv, counts.csv, confusion.csv, slices.csv; and differences.csv where there is a baseline.
    """
    evaluation = analysis.evaluation
    metrics: dict[str, object] = {"num_images": len(evaluation.images), **analysis.scores}
    if (
        analysis.resampling.num_resamples
    ):  # lists, which `dvc metrics` leaves out: its table stays one number per metric
        metrics["interval"] = {
            name: list(analysis.bounds[name]) for name in analysis.scores if name in analysis.bounds
        }
    write_json(out / "metrics.json", metrics)
    _write_csv(out / "per_class.csv", per_class_rows(analysis))
    _write_csv(out / "per_image.csv", per_image_rows(evaluation))
    _write_csv(out / "counts.csv", _count_rows(analysis.image_counts))
    _write_csv(out / "slices.csv", _slice_rows(analysis))
    if analysis.baseline is not None:
        _write_csv(out / "differences.csv", difference_rows(analysis.differences))
    names = [category.name for category in evaluation.categories] + [
        "background" if evaluation.background else "void"
    ]
    # Lines, not mappings: a category may itself be called "target", "void" or "background".
    lines = [[name, *row] for name, row in zip(names, evaluation.confusion.tolist(), strict=True)]
    _write_lines(out / "confusion.csv", [["target", *names], *lines])


def per_class_rows(analysis: Analysis) -> list[Row]:
    """One row per category: PQ, SQ, RQ, IoU, boundary IoU, AP, intervals, what PQ lacks by reason, counted segments and pixels."""
    evaluation = analysis.evaluation
    panoptic, lost = panoptic_per_class(evaluation.counts), panoptic_losses(evaluation.counts)
    iou = intersection_over_union(
        *class_areas(evaluation.confusion, background=evaluation.background)
    )
    boundary = intersection_over_union(*evaluation.boundary.T)
    pixels = evaluation.confusion.sum(axis=1)
    bounds = {metric: analysis.class_bounds(metric) for metric in ("PQ", "IoU", "AP")}
    rows: list[Row] = []
    for place, category in enumerate(evaluation.categories):
        pq, sq, rq = (_cell(value) for value in panoptic[place])
        tp, fp, fn = (int(value) for value in evaluation.counts[place, 1:4])
        ap = _cell(evaluation.ap.per_class.get(category.id, float("nan")))
        row: Row = {"category": category.name, "id": category.id, "isthing": int(category.isthing)}
        row |= {
            "PQ": pq,
            "SQ": sq,
            "RQ": rq,
            "IoU": _cell(iou[place]),
            "boundary_IoU": _cell(boundary[place]),
            "AP": ap,
        }
        row |= {"tp": tp, "fp": fp, "fn": fn, "pixels": int(pixels[place])}
        row |= {
            f"lost_{name}": _cell(value) for name, value in zip(LOSSES, lost[place], strict=True)
        }
        for metric, of_class in bounds.items():
            row |= _bound_cells(metric, of_class[place])
        rows.append(row)
    return rows


def per_image_rows(evaluation: Evaluation) -> list[Row]:
    """One row per image: its own PQ and mIoU, and how many segments were right, spurious and missed."""
    return [_image_row(evaluation, image) for image in evaluation.images]


def _image_row(evaluation: Evaluation, image: ImageScores) -> Row:
    counts = image.counts
    scores = evaluation.score_counts(counts, image.confusion)
    tp, fp, fn = (int(value) for value in counts[:, 1:4].sum(axis=0))
    row: Row = {
        "image": image.record.file_name,
        "PQ": _cell(scores["PQ"]),
        "mIoU": _cell(scores["mIoU"]),
    }
    return row | {"pixel_accuracy": _cell(scores["pixel_accuracy"]), "tp": tp, "fp": fp, "fn": fn}


def _count_rows(sums: ImageCounts) -> Iterable[Row]:
    """What each image adds to each category, where it adds anything: enough to score any resample of the images.

    An image that adds nothing has a row of zeros, since two models are compared on the same images.
    """
    fields = (*FIELDS, *LATER_FIELDS)
    classes = sums.table[:, :-1]
    adds = np.any(classes, axis=2, keepdims=True)[..., 0]
    adds[:, 0] |= ~np.any(adds, axis=1, keepdims=True)[:, 0]
    for image, place in np.argwhere(adds).tolist():
        row: Row = {
            "image": sums.images[image],
            "category": sums.categories[place],
            "isthing": int(sums.isthing[place]),
        }
        values = zip(fields, classes[image, place].tolist(), strict=True)
        yield row | {name: value if name == "iou_sum" else int(value) for name, value in values}


def _slice_rows(analysis: Analysis) -> list[Row]:
    rows: list[Row] = []
    for part in analysis.slices:
        row: Row = {
            "slicing": part.slicing,
            "slice": part.name,
            "images": part.num_images,
            "segments": part.num_segments,
        }
        for metric in SLICE_METRICS:
            row |= {metric: part.scores.get(metric, "")} | _bound_cells(
                metric, part.bounds.get(metric)
            )
        rows.append(row)
    return rows or [dict.fromkeys(("slicing", "slice", "images", "segments"), "")]


def difference_rows(differences: Iterable[Difference]) -> list[Row]:
    """One row per number: of all images, of each class, of each image."""
    return [
        {
            "kind": one.kind,
            "name": one.name,
            "metric": one.metric,
            "value": _some(one.value),
            "baseline": _some(one.baseline),
        }
        | {"difference": _some(one.difference)}
        | _bound_cells("difference", one.bounds)
        | {"leads": _some(one.leads)}
        for one in differences
    ]


def _bound_cells(metric: str, bounds: Interval | None) -> Row:
    low, high = bounds or ("", "")
    return {f"{metric}_low": low, f"{metric}_high": high}


def _some(value: float | None) -> float | str:
    return "" if value is None else value


def _cell(value: float) -> float | str:
    return "" if np.isnan(value) else float(value)


def _write_csv(path: Path, rows: Iterable[Row]) -> None:
    listed = list(rows)
    _write_lines(path, [list(listed[0]), *(list(row.values()) for row in listed)])


def _write_lines(path: Path, lines: Sequence[Sequence[object]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(lines)
    write_text(path, text.getvalue())
