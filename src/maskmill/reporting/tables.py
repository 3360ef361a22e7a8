"""An evaluation as files for programs and spreadsheets."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from maskmill.canonical.files import write_json, write_text
from maskmill.metrics.confusion import class_areas, intersection_over_union
from maskmill.metrics.evaluation import Evaluation, ImageScores
from maskmill.metrics.panoptic_quality import panoptic_per_class

Row = dict[str, object]


def write_tables(out: Path, evaluation: Evaluation) -> None:
    """Write metrics.json, per_class.csv, per_image.csv, counts.csv and confusion.csv; fractions, an empty cell for what does not occur."""
    write_json(out / "metrics.json", {"num_images": len(evaluation.images), **evaluation.scores()})
    _write_csv(out / "per_class.csv", per_class_rows(evaluation))
    _write_csv(out / "per_image.csv", per_image_rows(evaluation))
    _write_csv(out / "counts.csv", _count_rows(evaluation))
    names = [category.name for category in evaluation.categories] + ["background" if evaluation.background else "void"]
    # Lines, not mappings: a category may itself be called "target", "void" or "background".
    lines = [[name, *row] for name, row in zip(names, evaluation.confusion.tolist(), strict=True)]
    _write_lines(out / "confusion.csv", [["target", *names], *lines])


def per_class_rows(evaluation: Evaluation) -> list[Row]:
    """One row per category: PQ, SQ, RQ, IoU, AP, counted segments and pixels."""
    panoptic = panoptic_per_class(evaluation.counts)
    right, union = class_areas(evaluation.confusion, background=evaluation.background)
    iou = intersection_over_union(right, union)
    pixels = evaluation.confusion.sum(axis=1)
    rows: list[Row] = []
    for place, category in enumerate(evaluation.categories):
        pq, sq, rq = (_cell(value) for value in panoptic[place])
        tp, fp, fn = (int(value) for value in evaluation.counts[place, 1:4])
        ap = _cell(evaluation.ap.per_class.get(category.id, float("nan")))
        row: Row = {"category": category.name, "id": category.id, "isthing": int(category.isthing)}
        row |= {"PQ": pq, "SQ": sq, "RQ": rq, "IoU": _cell(iou[place]), "AP": ap}
        rows.append(row | {"tp": tp, "fp": fp, "fn": fn, "pixels": int(pixels[place])})
    return rows


def per_image_rows(evaluation: Evaluation) -> list[Row]:
    """One row per image: its own PQ and mIoU, and how many segments were right, spurious and missed."""
    return [_image_row(evaluation, image) for image in evaluation.images]


def _image_row(evaluation: Evaluation, image: ImageScores) -> Row:
    scores = evaluation.of(image.counts, image.confusion)
    tp, fp, fn = (int(value) for value in image.counts[:, 1:4].sum(axis=0))
    row: Row = {"image": image.record.file_name, "PQ": _cell(scores["PQ"]), "mIoU": _cell(scores["mIoU"])}
    return row | {"pixel_accuracy": _cell(scores["pixel_accuracy"]), "tp": tp, "fp": fp, "fn": fn}


def _count_rows(evaluation: Evaluation) -> Iterable[Row]:
    """What each image adds to each category, where it adds anything: enough to score any resample of the images.

    An image that adds nothing has a row of zeros, since two models are compared on the same images.
    """
    for image in evaluation.images:
        areas, counts = evaluation.areas(image), image.counts
        for place, category in enumerate(evaluation.categories):
            iou_sum, tp, fp, fn = counts[place, :4].tolist()
            right, union = areas[place].tolist()
            row: Row = {"image": image.record.file_name, "category": category.name, "isthing": int(category.isthing)}
            if tp or fp or fn or union or (place == 0 and not counts.any() and not areas.any()):
                yield row | {"iou_sum": iou_sum, "tp": int(tp), "fp": int(fp), "fn": int(fn), "intersection": right, "union": union}


def _cell(value: float) -> float | str:
    return "" if np.isnan(value) else float(value)


def _write_csv(path: Path, rows: Iterable[Row]) -> None:
    listed = list(rows)
    _write_lines(path, [list(listed[0]), *(list(row.values()) for row in listed)])


def _write_lines(path: Path, lines: Sequence[Sequence[object]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(lines)
    write_text(path, text.getvalue())
