"""What is most worth trying next, as far as the numbers of an evaluation say.

Each suggestion names the numbers that it follows from; where they say nothing, there is none.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from maskmill.evaluation.analysis import Analysis
from maskmill.evaluation.deciding import Task
from maskmill.evaluation.evaluation import Evaluation
from maskmill.evaluation.learning_curves import EPOCH, SCORE, TRAIN_LOSS, VAL_LOSS, rows_with
from maskmill.metrics.functional.panoptic_quality import PanopticCount
from maskmill.metrics.functional.segment_matching import SegmentOutcome
from maskmill.reporting.findings import (
    class_names,
    found_shares,
    largest_part,
    list_names,
    pixel_losses,
)
from maskmill.reporting.origin import Origin
from maskmill.reporting.pages import format_percent

RISE = 0.01  # of the score in the last quarter of a training, which a longer one may continue
OVERFIT = 1.1  # the last validation loss, as a multiple of the lowest one
FEW_IMAGES = 20  # of training: a class in fewer is hard to learn
RARE = 0.2  # of an equal share of the pixels
FOUND = 0.5  # of a class; where less is found, more images may help
SMALL_PX = 32 * 32  # COCO's bound of small objects
FINE_STRIDE = 8  # of Panoptic-DeepLab's output, the finest that it has
FEW_PREDICTED = 0.1  # of the number of segments in the ground truth
MORE_OFTEN = 1.5  # by which small segments are missed, if their size is the reason
MIN_LOST = 0.02  # of the score; there is nothing to suggest about less


def find_suggestions(
    analysis: Analysis, task: Task, origin: Origin, dataset: Mapping[str, Any]
) -> list[str]:
    """The suggestions, the most worthwhile first.

    Args:
        analysis: the scores.
        task: what they decide.
        origin: the model.
        dataset: the content of dataset.json; empty if it is not known.
    """
    evaluation = analysis.evaluation
    longer = _train_longer(origin, task)
    suggestions = [
        longer,
        _against_largest_loss(analysis, task, origin, dataset),
        "" if longer else _against_overfitting(origin),
        _label_more(evaluation, task, dataset),
    ]
    return list(filter(None, suggestions))


def _train_longer(origin: Origin, task: Task) -> str:
    rows = rows_with(origin.history, SCORE)
    if len(rows) < 4:
        return ""
    start = 0.75 * rows[-1][EPOCH]
    before = max((row[SCORE] for row in rows if row[EPOCH] <= start), default=0.0)
    rise = max(row[SCORE] for row in rows) - before
    if rise < RISE:
        return ""
    return (
        f"Train longer (trainer.max_epochs): the validation {task.metric} still rose by "
        f"{format_percent(rise)} points in the last quarter of the training."
    )


def _against_overfitting(origin: Origin) -> str:
    rows = rows_with(origin.history, VAL_LOSS, TRAIN_LOSS)
    if len(rows) < 4:
        return ""
    lowest = min(rows, key=lambda row: row[VAL_LOSS])
    last = rows[-1]
    has_risen = last[VAL_LOSS] > OVERFIT * lowest[VAL_LOSS]
    if not (has_risen and last[TRAIN_LOSS] < lowest[TRAIN_LOSS]):
        return ""
    rise = format_percent(last[VAL_LOSS] / lowest[VAL_LOSS] - 1)
    return (
        f"More training images or stronger augmentation: the validation loss was lowest after "
        f"epoch {lowest[EPOCH]:g} and is {rise} % higher at the end, while the training loss fell."
    )


def _against_largest_loss(
    analysis: Analysis, task: Task, origin: Origin, dataset: Mapping[str, Any]
) -> str:
    score = analysis.scores.get(task.metric)
    if score is None or 1 - score < MIN_LOST:
        return ""
    evaluation = analysis.evaluation
    if not task.counts_segments:
        return _against_confusion(evaluation, origin, dataset)
    part, _ = largest_part(evaluation, task)
    if part == "missed":
        return _against_missed(evaluation, task, origin)
    if part == "background":
        return _against_background(evaluation, task, origin)
    if part == "classification":
        return _against_classification(evaluation)
    return _against_localization(analysis, origin)


def _against_missed(evaluation: Evaluation, task: Task, origin: Origin) -> str:
    counted = task.classes(evaluation.categories)
    counts = evaluation.counts[counted]
    num_predicted = int(counts[:, [PanopticCount.TP, PanopticCount.FP]].sum())
    num_target = int(counts[:, [PanopticCount.TP, PanopticCount.FN]].sum())
    if num_predicted < FEW_PREDICTED * num_target:
        return _against_silence(num_predicted, num_target, origin)
    missed = np.zeros(2)  # of small segments, of others
    total = np.zeros(2)
    for image in evaluation.images:
        segments = image.matches.target
        is_counted = counted[segments.index] & (segments.outcome != SegmentOutcome.CROWD)
        is_missed = is_counted & (segments.outcome == SegmentOutcome.MISSED)
        for index, is_size in enumerate((segments.area < SMALL_PX, segments.area >= SMALL_PX)):
            missed[index] += np.count_nonzero(is_missed & is_size)
            total[index] += np.count_nonzero(is_counted & is_size)
    small, others = (missed / np.maximum(total, 1)).tolist()
    rates = (
        f"{format_percent(small)} % of the {total[0]:.0f} segments below 32 x 32 px are missed, "
        f"and {format_percent(others)} % of the {total[1]:.0f} others"
    )
    if small > MORE_OFTEN * others:
        return f"Larger images, or larger crops of them: {rates}."
    return f"Look at the missed segments below; size does not explain them: {rates}."


def _against_silence(num_predicted: int, num_target: int, origin: Origin) -> str:
    """About a model that predicts little: nothing else can be read from its errors."""
    text = (
        f"Find out why so little is predicted: {num_predicted} segments, where the ground truth "
        f"has {num_target}. Train longer (trainer.max_epochs)"
    )
    threshold = origin.value("task", "postprocess", "threshold")
    if threshold is None:
        return f"{text}."
    return f"{text}, or lower task.postprocess.threshold, which is {threshold}."


def _against_background(evaluation: Evaluation, task: Task, origin: Origin) -> str:
    counted = task.classes(evaluation.categories)
    number = 0
    for image in evaluation.images:
        segments = image.matches.pred
        is_false = segments.outcome == SegmentOutcome.BACKGROUND_ERROR
        number += int(np.count_nonzero(is_false & counted[segments.index]))
    text = (
        f"Look at the false positives below: {number} predicted segments are not in the ground "
        "truth. Either their labels are missing, or the model predicts too much"
    )
    threshold = origin.value("task", "postprocess", "threshold")
    if threshold is None:
        return f"{text}."
    return f"{text}: then raise task.postprocess.threshold, which is {threshold}."


def _against_classification(evaluation: Evaluation) -> str:
    size = evaluation.categories.num_classes
    number = np.zeros((size, size), np.int64)  # target class, predicted class
    for image in evaluation.images:
        pred, target = image.matches.pred, image.matches.target
        class_of = dict(zip(target.id.tolist(), target.index.tolist(), strict=True))
        for row in np.flatnonzero(pred.outcome == SegmentOutcome.CLASSIFICATION_ERROR).tolist():
            number[class_of[int(pred.partner[row])], pred.index[row]] += 1
    if not number.any():  # the predictions are ignored, since they lie mostly on void
        return ""
    target_class, pred_class = np.unravel_index(int(np.argmax(number)), number.shape)
    names = class_names(evaluation)
    return (
        f"Check the labels of {names[int(target_class)]} and {names[int(pred_class)]}, and add "
        f"images of both: {number.max()} of {number.sum()} segments with a wrong class are "
        f"{names[int(target_class)]} predicted as {names[int(pred_class)]}."
    )


def _against_localization(analysis: Analysis, origin: Origin) -> str:
    miou = format_percent(analysis.scores.get("mIoU"))
    boundary = format_percent(analysis.scores.get("boundary_mIoU"))
    evidence = f"mIoU is {miou}, near boundaries {boundary}"
    stride = origin.value("network", "output_stride")
    if isinstance(stride, int) and stride > FINE_STRIDE:
        return (
            f"A finer output of the network, network.output_stride={FINE_STRIDE}, or larger "
            f"images: outlines cost most, and the output stride is {stride} ({evidence})."
        )
    return f"Larger images, or a network with a finer output: outlines cost most ({evidence})."


def _against_confusion(evaluation: Evaluation, origin: Origin, dataset: Mapping[str, Any]) -> str:
    """About the class in which most of mIoU is lost, and the one that it is taken for."""
    names = class_names(evaluation)
    worst = int(np.nanargmax(pixel_losses(evaluation)))
    row = evaluation.confusion[worst].astype(np.float64)
    share = row / max(1.0, float(row.sum()))
    share[worst] = 0
    other = int(np.argmax(share))
    other_name = names[other] if other < len(names) else "no class"
    confusion = f"{format_percent(share[other])} % of its pixels are predicted as {other_name}"
    statistics = _training_classes(dataset).get(names[worst])
    total = sum(row["pixels"] for row in _training_classes(dataset).values())
    if statistics is None or not total:
        return f"More images of {names[worst]}, and a look at its labels: {confusion}."
    trained = statistics["pixels"] / total
    has_equal_weights = "class_weights.equal" in str(origin.value("loss"))
    if trained < RARE / len(names) and has_equal_weights:
        return (
            f"Weights for rare classes (class_weights=median_frequency) or more images of "
            f"{names[worst]}: it has {format_percent(trained)} % of the training pixels, and "
            f"{confusion}."
        )
    return (
        f"More images of {names[worst]}, and a look at its labels: {confusion}; it has "
        f"{format_percent(trained)} % of the training pixels."
    )


def _label_more(evaluation: Evaluation, task: Task, dataset: Mapping[str, Any]) -> str:
    classes = _training_classes(dataset)
    shares = found_shares(evaluation, task).share
    few = []
    for category, share in zip(evaluation.categories, shares.tolist(), strict=True):
        row = classes.get(category.name)
        if row is not None and row["images"] < FEW_IMAGES and share < FOUND:
            few.append(f"{category.name} ({row['images']})")
    if not few:
        return ""
    return (
        f"More training images of {list_names(few)}: less than half of each is found, and the "
        "numbers in brackets are the training images that it is in."
    )


def _training_classes(dataset: Mapping[str, Any]) -> dict[str, Any]:
    statistics = dataset.get("statistics", {}).get("train", {})
    return {row["name"]: row for row in statistics.get("classes", [])}
