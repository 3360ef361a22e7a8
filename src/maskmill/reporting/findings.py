"""What a report says first, in sentences that its numbers support."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.evaluation.analysis import Analysis
from maskmill.evaluation.deciding import Task
from maskmill.evaluation.evaluation import Evaluation
from maskmill.evaluation.learning_curves import EPOCH, SCORE, rows_with
from maskmill.metrics.functional.confusion_matrix import class_areas, intersection_over_union
from maskmill.metrics.functional.panoptic_quality import LOSSES, PanopticCount, panoptic_losses
from maskmill.reporting.origin import Origin
from maskmill.reporting.pages import format_percent

HARDLY = 0.1  # a class of which less is found is hardly ever predicted
MAX_CLASSES = 5  # in a sentence
LOSS_MEANINGS = {
    "missed": "segments of the ground truth that no prediction overlaps",
    "background": "predicted segments where the ground truth has none",
    "classification": "segments that are found, but with another class",
    "localization": "segments that are found, but whose outlines differ",
}
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Findings:
    """Sentences about an evaluation; empty where there is nothing to say.

    Args:
        hardly_predicted: classes of which little is found.
        largest_loss: what the deciding score lacks most.
        learning: when the validation score was best.
    """

    hardly_predicted: str
    largest_loss: str
    learning: str


def find_findings(analysis: Analysis, task: Task, origin: Origin) -> Findings:
    """The findings about an evaluation."""
    return Findings(
        hardly_predicted(analysis.evaluation, task),
        largest_loss(analysis, task),
        _learning(origin, task),
    )


@dataclass(frozen=True)
class FoundShares:
    """Of each class, what the ground truth has and what of it is found: segments, or pixels."""

    found: Floats  # (K,)
    total: Floats  # (K,)

    @property
    def share(self) -> Floats:
        """(K,), NaN for a class that the ground truth has not."""
        share = np.full(len(self.total), np.nan)
        np.divide(self.found, self.total, out=share, where=self.total > 0)
        return share


def found_shares(evaluation: Evaluation, task: Task) -> FoundShares:
    """What is found of each class that the task counts."""
    counts = task.classes(evaluation.categories)
    if task.counts_segments:
        found = evaluation.counts[:, PanopticCount.TP]
        total = found + evaluation.counts[:, PanopticCount.FN]
    else:
        matrix = evaluation.confusion[:-1].astype(np.float64)
        found = matrix.diagonal()
        total = matrix.sum(axis=1)
    return FoundShares(found * counts, total * counts)


def hardly_predicted(evaluation: Evaluation, task: Task) -> str:
    """The classes of which less than a tenth is found, or the one of which least is."""
    shares = found_shares(evaluation, task)
    share = shares.share
    order = np.argsort(share, kind="stable")[: np.count_nonzero(shares.total)].tolist()
    if not order:
        return ""
    names = class_names(evaluation)

    def describe(index: int) -> str:
        if not task.counts_segments:
            return f"{names[index]} ({format_percent(share[index])} % of its pixels)"
        found, total = int(shares.found[index]), int(shares.total[index])
        return f"{names[index]} ({found} of {total} segments)"

    rare = [describe(index) for index in order if share[index] < HARDLY]
    if rare:
        return list_names(rare)
    return f"no class. The least is found of {describe(order[0])}"


def largest_loss(analysis: Analysis, task: Task) -> str:
    """The largest part of what the deciding score lacks, and the classes that it is lost in."""
    score = analysis.scores.get(task.metric)
    if score is None:
        return ""
    evaluation = analysis.evaluation
    names = class_names(evaluation)
    lacks = f"{task.metric} lacks {format_percent(1 - score)} points"
    if not task.counts_segments:
        points = pixel_losses(evaluation)
        return f"{lacks}. Most of them: {_largest(points, names)}"
    part, points = largest_part(evaluation, task)
    total = format_percent(float(np.nansum(points)))
    return (
        f"{lacks}. The largest part, {total} points, is {part}: {LOSS_MEANINGS[part]}. "
        f"Most of it: {_largest(points, names)}"
    )


def pixel_losses(evaluation: Evaluation) -> Floats:
    """What mIoU lacks to 1, by class: (K,), NaN for classes that do not occur."""
    areas = class_areas(evaluation.confusion, background=evaluation.background)
    lost = 1 - intersection_over_union(*areas)
    loss: Floats = lost / max(1, int(np.count_nonzero(~np.isnan(lost))))
    return loss


def largest_part(evaluation: Evaluation, task: Task) -> tuple[str, Floats]:
    """The largest of `LOSSES`, and what each class contributes to it: (K,), NaN where absent."""
    losses = panoptic_losses(evaluation.counts)
    losses[~task.classes(evaluation.categories)] = np.nan
    num_classes = max(1, int(np.count_nonzero(~np.isnan(losses[:, 0]))))
    losses /= num_classes
    part = int(np.argmax(np.nansum(losses, axis=0)))
    return LOSSES[part], losses[:, part]


def _largest(points: Floats, names: list[str]) -> str:
    order = np.argsort(np.nan_to_num(-points), kind="stable")[:3].tolist()
    words = []
    for index in order:
        if points[index] > 0:
            words.append(f"{names[index]} ({format_percent(points[index])})")
    return ", ".join(words)


def _learning(origin: Origin, task: Task) -> str:
    scored = rows_with(origin.history, SCORE)
    if not scored:
        return ""
    best = max(scored, key=lambda row: row[SCORE])
    last = origin.history[-1][EPOCH]
    if not best[SCORE]:
        return f"the validation {task.metric} was 0 in all {last:g} epochs"
    score = format_percent(best[SCORE])
    epochs = f"{best[EPOCH]:g} of {last:g}"
    return f"the best validation {task.metric}, {score} %, came after epoch {epochs}"


def class_names(evaluation: Evaluation) -> list[str]:
    """The names of the K classes."""
    return [category.name for category in evaluation.categories]


def list_names(names: Iterable[str]) -> str:
    """Names in a sentence, the first ones if there are many."""
    names = list(names)
    text = ", ".join(names[:MAX_CLASSES])
    more = len(names) - MAX_CLASSES
    return f"{text} and {more} more" if more > 0 else text
