"""Fits the thresholds of post-processing to the validation images of a trained model."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.assembly.calibration import Examples
from maskmill.metrics.functional.panoptic_quality import Counts, match_segments, panoptic_means
from maskmill.postprocess.mask_classification import PanopticMasks
from maskmill.postprocess.panoptic import PanopticGrouping
from maskmill.postprocess.prediction import Network, Postprocess
from maskmill.postprocess.whole_image import stack
from maskmill.serving.model_files import ModelFiles

MAX_IMAGES = 100  # of the validation split, evenly spaced
CENTERS = (0.05, 0.1, 0.2, 0.4)  # lowest heights of a centre
KERNELS = (0.5, 0.7, 1.0, 1.4, 2.0)  # times the configured nms_kernel
CONFIDENCES = (0.3, 0.5, 0.65, 0.8, 0.9)  # lowest confidences of a query
OVERLAPS = (0.3, 0.5, 0.65, 0.8)
Values = dict[str, Any]  # arguments of a post-processing


@dataclass(frozen=True)
class FittedThresholds:
    """What was chosen, and what it changes on the images that it was chosen for.

    Args:
        values: arguments of the post-processing that replace the configured ones; empty if these
            stay.
        metric: PQ, or PQ/thing where stuff is left out.
        num_images: of the validation split that were used.
        before: the score with the configured values, a fraction.
        after: the score with the chosen ones.
    """

    values: Values
    metric: str
    num_images: int
    before: float
    after: float

    def summary(self) -> dict[str, Any]:
        """The fields as plain values, for model.json."""
        return asdict(self)


def fit_thresholds(
    network: Network, files: ModelFiles, examples: Examples, metric: str
) -> FittedThresholds | None:
    """Choose the values with the best score, if they are clearly better than the configured ones.

    That is by more than one standard error of the difference, a jackknife over the images (Efron
    and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 11): with few images the best of
    many combinations is best by chance. The network sees each image once, and whole.

    Args:
        network: images to outputs, with its weights.
        files: describe the model.
        examples: validation images.
        metric: PQ or PQ/thing.

    Returns:
        None if the post-processing has no thresholds, or no validation image has a segment.
    """
    configured = files.postprocess()
    candidates = candidate_values(configured)
    if not candidates:
        return None
    counts = _count(network, files, examples, [{}, *candidates])  # (M, N, K, 8)
    is_thing = np.array([bool(category.isthing) for category in files.categories])
    score = panoptic_means(counts.sum(axis=1), is_thing)[metric]  # (M,)
    if not np.isfinite(score[0]):
        return None
    best = int(np.nanargmax(score))
    total = counts.sum(axis=1, keepdims=True)
    without_each = panoptic_means(total - counts, is_thing)[metric]  # (M, N)
    is_significant = score[best] - score[0] > standard_error(without_each[best] - without_each[0])
    chosen = best if is_significant else 0
    return FittedThresholds(
        values=[{}, *candidates][chosen],
        metric=metric,
        num_images=len(examples),
        before=round(float(score[0]), 6),
        after=round(float(score[chosen]), 6),
    )


def candidate_values(postprocess: Postprocess) -> list[Values]:
    """Combinations of thresholds that are worth trying; none for a post-processing without."""
    if isinstance(postprocess, PanopticGrouping):
        kernels = sorted({_odd(factor * postprocess.nms_kernel) for factor in KERNELS})
        pairs = product(CENTERS, kernels)
        return [{"threshold": threshold, "nms_kernel": kernel} for threshold, kernel in pairs]
    if isinstance(postprocess, PanopticMasks):
        pairs = product(CONFIDENCES, OVERLAPS)
        return [{"threshold": threshold, "overlap": overlap} for threshold, overlap in pairs]
    return []


def standard_error(without_each: npt.NDArray[np.float64]) -> float:
    """The jackknife's standard error of a number; infinite for a single image.

    Args:
        without_each: (N,), the number without each of the images; NaN where it is not defined.
    """
    values = without_each[np.isfinite(without_each)]
    num_images = len(values)
    if num_images < 2:
        return float("inf")
    squares = np.square(values - values.mean()).sum()
    return float(np.sqrt((num_images - 1) / num_images * squares))


def _odd(length: float) -> int:
    return max(int(length), 3) // 2 * 2 + 1


def _count(
    network: Network, files: ModelFiles, examples: Examples, candidates: Sequence[Values]
) -> Counts:
    """Panoptic counts (M, N, K, 8) of each candidate in each image."""
    has_background = files.categories.background_index is not None
    postprocesses = list(map(files.postprocess, candidates))
    counts = []
    for example in examples:
        outputs = network(stack([example.image]))
        of_image = []
        for postprocess in postprocesses:
            (prediction,) = postprocess(outputs, [example.image.shape[:2]])
            matched = match_segments(
                prediction.panoptic,
                example.panoptic,
                files.categories,
                background=has_background,
            )
            of_image.append(matched)
        counts.append(of_image)
    return np.array(counts).swapaxes(0, 1)
