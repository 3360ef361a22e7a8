"""The scores of an evaluation as tables for a page: headlines, classes, PQ losses, slices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maskmill.canonical.categories import Categories, Category
from maskmill.evaluation.analysis import SLICE_METRICS, Analysis, Slice
from maskmill.evaluation.bootstrap import Interval
from maskmill.metrics.functional.panoptic_quality import LOSSES
from maskmill.reporting.tables import Row, per_class_rows

HEADLINES = {  # the numbers that people quote; the others are folded away
    "segments": ("PQ", "SQ", "RQ", "PQ/thing", "PQ/stuff"),
    "pixels": ("mIoU", "boundary_mIoU", "Dice", "fwIoU", "pixel_accuracy"),
    "scored objects": ("AP", "AP50", "AP75", "boundary_AP", "ECE"),
}
CLASS_METRICS = ("PQ", "SQ", "RQ", "IoU", "boundary_IoU", "AP")


@dataclass(frozen=True)
class Score:
    """A metric as a fraction, None where it has no value, with its 95 % interval."""

    name: str
    value: float | None
    bounds: Interval | None = None


@dataclass(frozen=True)
class Headlines:
    """The headline scores by what they judge, and all scores."""

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
    """One class: its scores and its numbers of segments."""

    key: ClassKey
    kind: str
    scores: list[Score]
    tp: int
    fp: int
    fn: int


@dataclass(frozen=True)
class ClassTable:
    """A row for each class that occurs, and the names of the others."""

    metrics: list[str]
    rows: list[ClassRow]
    absent: list[str]


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


def class_key(category: Category, categories: Categories) -> ClassKey:
    """The key of a class."""
    return ClassKey(categories.index[category.id] + 1, category.name, category.color)


def tabulate_headlines(analysis: Analysis) -> Headlines:
    """The scores of the whole data set."""
    scores: dict[str, Score] = {}
    for metric, value in analysis.scores.items():
        if value is not None:
            name = metric.replace("_", " ")
            scores[metric] = Score(name, value, analysis.bounds.get(metric))
    groups = {}
    for title, metrics in HEADLINES.items():
        shown = [scores[metric] for metric in metrics if metric in scores]
        if shown:
            groups[title] = shown
    return Headlines(
        groups=groups,
        scores=list(scores.values()),
        num_images=len(analysis.evaluation.images),
        num_resamples=analysis.resampling.num_resamples,
        has_calibration="ECE" in scores,
    )


def tabulate_classes(analysis: Analysis) -> ClassTable:
    """The scores of each class."""
    categories = analysis.evaluation.categories
    metrics = list(CLASS_METRICS)
    if not analysis.evaluation.ap.numbers:
        metrics.remove("AP")
    rows = []
    absent = []
    for category, row in zip(categories, per_class_rows(analysis), strict=True):
        scores = [_class_score(row, metric) for metric in metrics]
        if all(score.value is None for score in scores):
            absent.append(category.name)
            continue
        key = class_key(category, categories)
        kind = "thing" if category.isthing else "stuff"
        segments = {name: _int(row[name]) for name in ("tp", "fp", "fn")}
        rows.append(ClassRow(key, kind, scores, **segments))
    return ClassTable([metric.replace("_", " ") for metric in metrics], rows, absent)


def loss_bars(analysis: Analysis) -> list[LossBar]:
    """What PQ lacks, of all classes together and of each; empty where no segment is counted."""
    scores = analysis.scores
    if scores["PQ"] is None:
        return []
    overall = {"PQ": scores["PQ"]}
    for loss in LOSSES:
        overall[loss] = scores[f"PQ/lost/{loss}"] or 0.0
    bars = [LossBar(None, overall)]
    categories = analysis.evaluation.categories
    for category, row in zip(categories, per_class_rows(analysis), strict=True):
        pq = _float(row["PQ"])
        if pq is None:
            continue
        shares = {"PQ": pq}
        for loss in LOSSES:
            shares[loss] = _float(row[f"lost_{loss}"]) or 0.0
        bars.append(LossBar(class_key(category, categories), shares))
    return bars


def tabulate_slices(slices: Sequence[Slice]) -> SliceTable | None:
    """The scores of each slice; None without slices."""
    if not slices:
        return None
    metrics = []
    for metric in SLICE_METRICS:
        if any(metric in part.scores for part in slices):
            metrics.append(metric)
    groups: dict[str, list[SliceRow]] = {}
    for part in slices:
        scores = [_slice_score(part.scores, part.bounds, metric) for metric in metrics]
        row = SliceRow(part.name, part.num_images, part.num_segments, scores)
        groups.setdefault(part.slicing, []).append(row)
    return SliceTable(metrics, groups)


def _slice_score(scores: Mapping[str, float], bounds: Mapping[str, Interval], metric: str) -> Score:
    return Score(metric, scores.get(metric), bounds.get(metric))


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
