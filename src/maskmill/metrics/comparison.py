"""Is one model better than another on the same images: a paired bootstrap over images."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

FIELDS = ("iou_sum", "tp", "fp", "fn", "intersection", "union")
Counts = dict[str, dict[str, npt.NDArray[np.float64]]]  # image -> category -> FIELDS


@dataclass(frozen=True)
class Comparison:
    """Scores of both on all images, and the share of resamples in which the candidate leads by more than the margin."""

    candidate: float
    baseline: float
    confidence: float


def read_counts(path: Path, *, things_only: bool = False) -> Counts:
    """Read the per-image, per-class counts that `evaluate` wrote; of all categories, or of things.

    Raises:
        ValueError: a column is missing.
    """
    counts: Counts = {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = {"image", "category", "isthing", *FIELDS} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(
                f"{path}: expected counts with the columns {sorted(missing)}, but they are missing - run `maskmill evaluate` again"
            )
        for row in reader:
            classes = counts.setdefault(row["image"], {})
            if not things_only or row["isthing"] == "1":
                classes[row["category"]] = np.array([float(row[field]) for field in FIELDS])
    return counts


def compare(candidate: Counts, baseline: Counts, *, metric: str, margin: float, num_resamples: int = 2000, seed: int = 0) -> Comparison:
    """Compare two models by resampling the images they were both scored on (paired bootstrap, Efron and Tibshirani 1993, ch. 16).

    Args:
        candidate: counts of one model.
        baseline: counts of the other, on the same images.
        metric: "PQ" or "mIoU".
        margin: by how much the candidate must lead.
        num_resamples: how often images are drawn anew.
        seed: of the drawing.

    Returns:
        the scores and the confidence that the candidate leads.

    Raises:
        ValueError: the images differ, or the metric is another.
    """
    if candidate.keys() != baseline.keys():
        apart = sorted(candidate.keys() ^ baseline.keys())[:3]
        raise ValueError(f"Expected counts of the same images, but {apart} are in one only - evaluate both models on one split")
    if metric not in {"PQ", "mIoU"}:
        raise ValueError(f"Expected argument `metric` to be PQ or mIoU, but got {metric!r}")
    images = sorted(candidate)
    categories = sorted({category for counts in (candidate, baseline) for rows in counts.values() for category in rows})
    tables = [_table(counts, images, categories) for counts in (candidate, baseline)]
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(len(images), np.full(len(images), 1 / len(images)), size=num_resamples).astype(np.float64)  # (R, N)
    drawn = [_score(weights, table, metric) for table in tables]
    whole = [float(_score(np.ones((1, len(images))), table, metric)[0]) for table in tables]
    return Comparison(whole[0], whole[1], float(np.mean(drawn[0] - drawn[1] > margin)))


def _table(counts: Counts, images: list[str], categories: list[str]) -> npt.NDArray[np.float64]:
    nothing = np.zeros(len(FIELDS))
    return np.array([[counts[image].get(category, nothing) for category in categories] for image in images])  # (N, K, F)


def _score(weights: npt.NDArray[np.float64], table: npt.NDArray[np.float64], metric: str) -> npt.NDArray[np.float64]:
    """The metric for each row of image weights (R, N): (R,)."""
    iou_sum, tp, fp, fn, intersection, union = np.einsum("rn,nkf->frk", weights, table)
    above, below = (iou_sum, tp + fp / 2 + fn / 2) if metric == "PQ" else (intersection, union)
    present = below > 0
    per_class = np.divide(above, below, out=np.zeros_like(above), where=present)
    score: npt.NDArray[np.float64] = per_class.sum(axis=1) / np.maximum(present.sum(axis=1), 1)
    return score
