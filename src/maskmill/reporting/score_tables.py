"""The scores of an evaluation as tables for a page: headlines, classes, PQ losses, slices."""

from collections.abc import Sequence
from dataclasses import dataclass

from maskmill.canonical.categories import Categories, Category
from maskmill.evaluation.analysis import (
    OBJECT_SIZE,
    SLICE_METRICS,
    THING_METRICS,
    Analysis,
    Slice,
)
from maskmill.evaluation.bootstrap import Interval
from maskmill.evaluation.deciding import Task
from maskmill.metrics.functional.panoptic_quality import LOSSES
from maskmill.reporting.tables import Row, per_class_rows

PIXELS = ("mIoU", "boundary_mIoU", "Dice", "fwIoU", "pixel_accuracy")
RANKED = ("AP", "AP50", "AP75", "boundary_AP", "ECE")
HEADLINES: dict[
    str, dict[str, tuple[str, ...]]
] = {  # the numbers that people quote, by task; the others are folded away
    "panoptic": {
        "Segments": ("PQ", "PQ/thing", "PQ/stuff", "SQ", "RQ"),
        "Pixels": PIXELS,
        "Objects ranked by confidence": RANKED,
    },
    "instance": {
        "Objects": ("PQ/thing", "SQ/thing", "RQ/thing"),
        "Objects ranked by confidence": RANKED,
        "Pixels": PIXELS,
    },
    "semantic": {"Pixels": PIXELS},
}
OF_ONE_KIND = ("PQ/thing", "PQ/stuff")  # the same as PQ where all classes are of one kind
CLASS_METRICS = ("PQ", "SQ", "RQ", "IoU", "boundary_IoU", "AP")
PIXEL_METRICS = ("IoU", "boundary_IoU")


@dataclass(frozen=True)
class Score:
    """A metric as a fraction, None where it has no value, with its 95 % interval."""

    name: str
    value: float | None
    bounds: Interval | None = None


@dataclass(frozen=True)
class Headlines:
    """The deciding score, the headline scores by what they judge, and all scores."""

    deciding: Score
    groups: dict[str, list[Score]]
    scores: list[Score]
    num_images: int
    num_resamples: int
    has_calibration: bool


@dataclass(frozen=True)
class ClassKey:
    """What identifies a class in pictures and tables: number 1..K, name and colour."""

    number: int
    name: str
    color: tuple[int, int, int]


@dataclass(frozen=True)
class ClassRow:
    """One class: its scores, its share of the labelled pixels, its numbers of segments."""

    key: ClassKey
    kind: str
    scores: list[Score]
    share: float
    tp: int
    fp: int
    fn: int


@dataclass(frozen=True)
class ClassTable:
    """A row for each class that occurs, and the names of the others."""

    metrics: list[str]
    rows: list[ClassRow]
    absent: list[str]
    counts_segments: bool


@dataclass(frozen=True)
class LossBar:
    """PQ and what it lacks to 1, by reason; the key is None for all classes together."""

    key: ClassKey | None
    shares: dict[str, float]


@dataclass(frozen=True)
class SliceRow:
    """One slice of the data set."""

    name: str
    num_images: int
    num_segments: int
    scores: list[Score]


@dataclass(frozen=True)
class SliceTable:
    """The slices by the way they were cut."""

    metrics: list[str]
    groups: dict[str, list[SliceRow]]
    has_sizes: bool


def class_key(category: Category, categories: Categories) -> ClassKey:
    """The key of a class."""
    return ClassKey(categories.index[category.id] + 1, category.name, category.color)


def headline_groups(task: Task, categories: Categories) -> dict[str, list[str]]:
    """The metrics that people quote, by what they judge; none is there under two names."""
    hidden: set[str] = set()
    isthing = categories.isthing
    if task.things_only and not isthing.all():
        hidden.update(PIXELS)  # they would count the missing stuff
    if task.name == "panoptic" and isthing.all() == isthing.any():
        hidden.update(OF_ONE_KIND)
    groups = {}
    for title, metrics in HEADLINES[task.name].items():
        groups[title] = [metric for metric in metrics if metric not in hidden]
    return groups


def tabulate_headlines(analysis: Analysis, task: Task) -> Headlines:
    """The scores of the whole data set."""
    scores: dict[str, Score] = {}
    for metric, value in analysis.scores.items():
        if value is not None:
            name = metric.replace("_", " ")
            scores[metric] = Score(name, value, analysis.bounds.get(metric))
    groups = {}
    for title, metrics in headline_groups(task, analysis.evaluation.categories).items():
        group = [scores[metric] for metric in metrics if metric in scores]
        if group:
            groups[title] = group
    return Headlines(
        deciding=scores.get(task.metric, Score(task.metric, None)),
        groups=groups,
        scores=list(scores.values()),
        num_images=len(analysis.evaluation.images),
        num_resamples=analysis.resampling.num_resamples,
        has_calibration="ECE" in scores and task.counts_segments,
    )


def tabulate_classes(analysis: Analysis, task: Task) -> ClassTable:
    """The scores of each class that the task counts."""
    categories = analysis.evaluation.categories
    metrics = list(CLASS_METRICS if task.counts_segments else PIXEL_METRICS)
    evaluation = analysis.evaluation
    if not evaluation.ap.numbers and "AP" in metrics:
        metrics.remove("AP")
    metrics = list(filter(evaluation.has, metrics))
    rows = []
    absent = []
    total = max(1, int(analysis.evaluation.confusion[:-1].sum()))
    for category, row in zip(categories, per_class_rows(analysis), strict=True):
        if task.things_only and not category.isthing:
            continue
        scores = [_class_score(row, metric) for metric in metrics]
        if all(score.value is None for score in scores):
            absent.append(category.name)
            continue
        key = class_key(category, categories)
        kind = "thing" if category.isthing else "stuff"
        segments = {name: _int(row[name]) for name in ("tp", "fp", "fn")}
        share = _int(row["pixels"]) / total
        rows.append(ClassRow(key, kind, scores, share=share, **segments))
    names = [metric.replace("_", " ") for metric in metrics]
    return ClassTable(names, rows, absent, counts_segments=task.counts_segments)


def loss_bars(analysis: Analysis, task: Task) -> list[LossBar]:
    """What PQ lacks, of all classes together and of each; empty where no segment is counted."""
    scores = analysis.scores
    if scores.get("PQ") is None or not task.counts_segments:
        return []
    bars = []
    if not task.things_only:
        overall = {"PQ": scores["PQ"] or 0.0}
        for loss in LOSSES:
            overall[loss] = scores[f"PQ/lost/{loss}"] or 0.0
        bars.append(LossBar(None, overall))
    categories = analysis.evaluation.categories
    for category, row in zip(categories, per_class_rows(analysis), strict=True):
        pq = _float(row["PQ"])
        if pq is None or (task.things_only and not category.isthing):
            continue
        shares = {"PQ": pq}
        for loss in LOSSES:
            shares[loss] = _float(row[f"lost_{loss}"]) or 0.0
        bars.append(LossBar(class_key(category, categories), shares))
    return bars


def tabulate_slices(slices: Sequence[Slice], task: Task) -> SliceTable | None:
    """The scores of each slice; None where no slice says more than the scores of all images.

    A division with a single slice is left out, and so are slices without a segment, and sizes of
    objects where the task counts pixels.
    """
    groups: dict[str, list[Slice]] = {}
    for part in slices:
        applies = task.counts_segments or part.slicing != OBJECT_SIZE
        if applies and part.num_segments:
            groups.setdefault(part.slicing, []).append(part)
    kept = {name: parts for name, parts in groups.items() if len(parts) > 1}
    shown = [part for parts in kept.values() for part in parts]
    metrics = []
    for metric in SLICE_METRICS:
        # Where only things count, those of all classes would count the missing stuff.
        applies = metric != "mIoU" if task.things_only else task.counts_segments
        applies = applies or metric == task.metric
        if applies and any(metric in part.scores for part in shown):
            metrics.append(metric)
    if not metrics:
        return None
    rows = {}
    for name, parts in kept.items():
        rows[name] = [_slice_row(part, metrics, task) for part in parts]
    return SliceTable(metrics, rows, has_sizes=OBJECT_SIZE in rows)


def _slice_row(part: Slice, metrics: Sequence[str], task: Task) -> SliceRow:
    scores = []
    for metric in metrics:
        key = metric
        if task.things_only and part.slicing != OBJECT_SIZE:
            key = THING_METRICS.get(metric, metric)
        scores.append(Score(metric, part.scores.get(key), part.bounds.get(key)))
    return SliceRow(part.name, part.num_images, part.num_segments, scores)


def _class_score(row: Row, metric: str) -> Score:
    low = _float(row.get(f"{metric}_low"))
    high = _float(row.get(f"{metric}_high"))
    bounds = None if low is None or high is None else (low, high)
    return Score(metric, _float(row[metric]), bounds)


def _float(cell: object) -> float | None:
    """The number in a cell of a table; None for an empty cell."""
    return cell if isinstance(cell, float) else None


def _int(cell: object) -> int:
    assert isinstance(cell, int), f"expected a count, but got {cell!r}"
    return cell
