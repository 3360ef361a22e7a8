"""An evaluation with intervals, slices, and the differences from another prediction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maskmill.evaluation.bootstrap import Array, Interval, Resampling, Score, interval
from maskmill.evaluation.comparison import Difference, differences_of_scores, list_differences
from maskmill.evaluation.counting import (
    build_score,
    calibration_error,
    count_by_size,
    count_images,
    count_objects,
    reliability_by_image,
)
from maskmill.evaluation.evaluation import Evaluation
from maskmill.evaluation.image_counts import Field, ImageCounts
from maskmill.evaluation.slices import Slicing, by_brightness, by_crowding, mean_luma

OBJECT_SIZE = "object size"  # a slicing of things, not of images
SLICE_METRICS = ("PQ", "SQ", "RQ", "mIoU", "AP")
THING_METRICS = {"PQ": "PQ/thing", "SQ": "SQ/thing", "RQ": "RQ/thing"}  # of things by size


@dataclass(frozen=True)
class Slice:
    """The scores of some images of the data set, or of some of its objects.

    Args:
        slicing: by what it was divided.
        name: of the slice.
        num_images: images with something in it.
        num_segments: target segments in it.
        scores: metric -> fraction, without those that have none; those of things alone as well,
            such as "PQ/thing", where it is of images.
        bounds: metric -> 95 % interval, where there are resamples; AP has none, since it would
            take as long as everything else.
    """

    slicing: str
    name: str
    num_images: int
    num_segments: int
    scores: dict[str, float]
    bounds: dict[str, Interval]


@dataclass(frozen=True)
class Analysis:
    """An evaluation with its intervals, its slices and, with a baseline, the differences from it.

    Args:
        evaluation: the scores.
        resampling: how images are resampled.
        slicings: the slices.
        baseline: the scores of another prediction of the same images.
    """

    evaluation: Evaluation
    resampling: Resampling
    slicings: Sequence[Slicing] = ()
    baseline: Evaluation | None = None

    @cached_property
    def image_counts(self) -> ImageCounts:
        """What each image adds."""
        return count_images(self.evaluation)

    @cached_property
    def scores(self) -> dict[str, float | None]:
        """All headline numbers, fractions; None where the target has nothing that they count."""
        return self.evaluation.scores()

    @cached_property
    def reliability(self) -> Array | None:
        """What each image adds to the reliability of scores, (N, 3, B); None without scores."""
        if not self.evaluation.calibration.count.any():
            return None
        return reliability_by_image(self.evaluation)

    @cached_property
    def drawn(self) -> dict[str, Array]:
        """The headline numbers of each resample, (R,) or for classes (R, K); empty without any."""
        return self.resampling.draw(self._score, len(self.image_counts.images))

    @cached_property
    def whole(self) -> dict[str, Array]:
        """The headline numbers of all images, (1,) or for classes (1, K)."""
        return self._score(np.ones((1, len(self.image_counts.images))))

    def _score(self, weights: Array) -> dict[str, Array]:
        scores = dict(self._score_counts(weights))
        if self.reliability is not None:
            scores["ECE"] = calibration_error(self.reliability, weights)
        return self._asked(scores)

    def _asked(self, scores: Mapping[str, Array]) -> dict[str, Array]:
        """The scores of the families that are asked for."""
        return {name: values for name, values in scores.items() if self.evaluation.has(name)}

    @cached_property
    def _score_counts(self) -> Score:
        return build_score(self.evaluation, self.image_counts)

    @cached_property
    def bounds(self) -> dict[str, Interval]:
        """The 95 % interval of each headline number that has one."""
        numbers = {}
        for name, values in self.drawn.items():
            if values.ndim == 1:
                numbers[name] = values
        return _bounds(numbers)

    def class_bounds(self, metric: str) -> list[Interval | None]:
        """The 95 % interval of "PQ", "IoU" or "AP" of each class."""
        values = self.drawn.get(f"{metric}/class")
        if values is None:
            return [None] * len(self.image_counts.categories)
        return [interval(column) for column in values.T]

    @cached_property
    def slices(self) -> list[Slice]:
        """Things by size, then the slices of all slicings."""
        slices = []
        if self.image_counts.isthing.any():
            for name, counts in count_by_size(self.evaluation, self.image_counts):
                slices.append(self._size_slice(name, counts))
        for slicing in self.slicings:
            for name, indices in slicing.indices().items():
                slices.append(self._image_slice(slicing.name, name, indices))
        return slices

    def _size_slice(self, name: str, counts: ImageCounts) -> Slice:
        """The things of one size."""
        whole = counts.score(np.ones((1, len(counts.images))))
        scores = _scores(self._asked(_thing_metrics(whole)))
        ap = self.evaluation.ap.numbers.get(f"AP/{name}", np.nan)
        if not np.isnan(ap):
            scores["AP"] = ap
        drawn = self.resampling.draw(counts.score, len(counts.images))
        bounds = _bounds(self._asked(_thing_metrics(drawn))) if drawn else {}
        num_segments = _count_target_segments(counts)
        num_images = int(np.count_nonzero(num_segments))
        return Slice(OBJECT_SIZE, name, num_images, int(num_segments.sum()), scores, bounds)

    def _image_slice(self, slicing: str, name: str, indices: npt.NDArray[np.int64]) -> Slice:
        """The images at some indices."""
        counts = self.image_counts.select(indices)
        weights = np.zeros((1, len(self.image_counts.images)))
        weights[0, indices] = 1
        scores = _scores(self._asked(_slice_metrics(self._score_counts(weights))))
        drawn = self.resampling.draw(counts.score, len(indices))
        bounds = _bounds(self._asked(_slice_metrics(drawn)))
        num_segments = int(_count_target_segments(counts).sum())
        return Slice(slicing, name, len(indices), num_segments, scores, bounds)

    @cached_property
    def differences(self) -> list[Difference]:
        """From the baseline: of all headline numbers, by class, by image; empty without one."""
        if self.baseline is None:
            return []
        other = Analysis(self.baseline, self.resampling)
        counts = self.image_counts
        differences = differences_of_scores(
            [self.whole, other.whole], [self.drawn, other.drawn], counts.categories
        )
        values = self._score_images(), other._score_images()
        return differences + list_differences(
            "image", counts.images, self.image_metric, values, None
        )

    def _score_images(self) -> list[float | None]:
        """The image metric of each image, None where it has none."""
        values = self.image_counts.score_each()[self.image_metric].tolist()
        return [None if np.isnan(value) else value for value in values]

    @property
    def image_metric(self) -> str:
        """What ranks single images: PQ, or mIoU where no class is countable."""
        return "PQ" if self.image_counts.isthing.any() else "mIoU"


def analyse(
    evaluation: Evaluation,
    resampling: Resampling,
    *,
    images: Path,
    tags: Sequence[Slicing] = (),
    baseline: Evaluation | None = None,
    workers: int = 1,
) -> Analysis:
    """An evaluation with the slices that its images allow.

    Args:
        evaluation: the scores.
        resampling: how images are resampled.
        images: folder of the images, whose brightness is asked for if it is among the metrics of
            the evaluation; images may be missing.
        tags: slicings of the user.
        baseline: the scores of another prediction of the same images.
        workers: processes; the result does not depend on it.

    Raises:
        ValueError: an image does not decode.
    """
    records = evaluation.images.records
    slicings = []
    if evaluation.categories.isthing.any():
        slicings.append(by_crowding(count_objects(evaluation)))
    if "brightness" in evaluation.metrics:
        brightness = by_brightness(mean_luma(images, records, workers=workers))
        slicings += [] if brightness is None else [brightness]
    return Analysis(evaluation, resampling, [*slicings, *tags], baseline)


def _count_target_segments(counts: ImageCounts) -> Array:
    """Target segments of each image, (N,)."""
    num_segments = counts.table[..., Field.TP] + counts.table[..., Field.FN]
    total: Array = num_segments.sum(axis=1)
    return total


def _slice_metrics(scores: Mapping[str, Array]) -> dict[str, Array]:
    shown = (*SLICE_METRICS, *THING_METRICS.values())
    return {metric: scores[metric] for metric in shown if metric in scores}


def _thing_metrics(scores: Mapping[str, Array]) -> dict[str, Array]:
    """The metrics of things under the names of those of all classes."""
    renamed = {}
    for metric, metric_of_things in THING_METRICS.items():
        renamed[metric] = scores[metric_of_things]
    return renamed


def _scores(values: Mapping[str, Array]) -> dict[str, float]:
    """The single value of each metric, (1,), without NaN."""
    scores = {}
    for metric, value in values.items():
        score = float(value[0])
        if not np.isnan(score):
            scores[metric] = score
    return scores


def _bounds(drawn: Mapping[str, Array]) -> dict[str, Interval]:
    """The intervals of resampled values (R,), of the metrics that have one."""
    bounds = {}
    for name, values in drawn.items():
        bounds_of_metric = interval(values)
        if bounds_of_metric is not None:
            bounds[name] = bounds_of_metric
    return bounds
