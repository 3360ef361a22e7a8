"""What an evaluation tells beyond its numbers: how sure they are, where they are worse, and what changed since another prediction."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maskmill.evaluation.bootstrap import Array, Interval, Resampling, Score, interval
from maskmill.evaluation.comparison import Difference, differences, of_scores
from maskmill.evaluation.counting import (
    calibration_error,
    num_objects,
    reliability_by_image,
    score_of,
    sums_by_size,
    sums_of,
)
from maskmill.evaluation.evaluation import Evaluation
from maskmill.evaluation.image_counts import ImageSums
from maskmill.evaluation.slices import Slicing, by_brightness, by_crowding, mean_luma

SLICE_METRICS = ("PQ", "SQ", "RQ", "mIoU", "AP")


@dataclass(frozen=True)
class Slice:
    """The scores of a part of the data set.

    Args:
        slicing: how it was cut.
        name: of the part.
        num_images: with anything of it.
        num_segments: true ones in it.
        scores: metric -> fraction, where it has one.
        bounds: metric -> 95 %, where there are resamples; AP has none, it would take as long as all the rest.
    """

    slicing: str
    name: str
    num_images: int
    num_segments: int
    scores: dict[str, float]
    bounds: dict[str, Interval]


@dataclass(frozen=True)
class Analysis:
    """An evaluation with its intervals, its slices and, where there is a baseline, the differences from it."""

    evaluation: Evaluation
    resampling: Resampling
    slicings: Sequence[Slicing] = ()
    baseline: Evaluation | None = None

    @cached_property
    def sums(self) -> ImageSums:
        """What each image adds."""
        return sums_of(self.evaluation)

    @cached_property
    def scores(self) -> dict[str, float | None]:
        """All headline numbers, fractions; None for what the truth has nothing of."""
        return self.evaluation.scores()

    @cached_property
    def reliability(self) -> Array | None:
        """What each image adds to the reliability of scores, (N, 3, B); None where segments have none."""
        return (
            reliability_by_image(self.evaluation)
            if self.evaluation.calibration.number.any()
            else None
        )

    def _calibration(self, weights: Array) -> dict[str, Array]:
        return (
            {}
            if self.reliability is None
            else {"ECE": calibration_error(self.reliability, weights)}
        )

    @cached_property
    def drawn(self) -> dict[str, Array]:
        """The headline numbers of each resample, (R,), and those of classes (R, K); empty without resamples."""
        return self.resampling.draw(self._score, len(self.sums.images))

    @cached_property
    def whole(self) -> dict[str, Array]:
        """The same of all images once: (1,) or (1, K)."""
        return self._score(np.ones((1, len(self.sums.images))))

    def _score(self, weights: Array) -> dict[str, Array]:
        return {**self._uncalibrated(weights), **self._calibration(weights)}

    @cached_property
    def _uncalibrated(self) -> Score:
        return score_of(self.evaluation, self.sums)

    @cached_property
    def bounds(self) -> dict[str, Interval]:
        """The 95 % interval of each headline number that has one."""
        return _bounds({name: values for name, values in self.drawn.items() if values.ndim == 1})

    def class_bounds(self, metric: str) -> list[Interval | None]:
        """The 95 % interval of "PQ", "IoU" or "AP" of each class."""
        values = self.drawn.get(f"{metric}/class")
        return (
            [None] * len(self.sums.categories)
            if values is None
            else [interval(column) for column in values.T]
        )

    @cached_property
    def slices(self) -> list[Slice]:
        """Things by size, and the parts of all slicings."""
        sizes = sums_by_size(self.evaluation, self.sums) if self.sums.isthing.any() else {}
        return [
            *(self._size(name, sums) for name, sums in sizes.items()),
            *(
                self._part(slicing.name, name, places)
                for slicing in self.slicings
                for name, places in slicing.places().items()
            ),
        ]

    def _size(self, name: str, sums: ImageSums) -> Slice:
        true = sums.table[..., 1] + sums.table[..., 3]  # tp + fn
        things = {"PQ/thing": "PQ", "SQ/thing": "SQ", "RQ/thing": "RQ"}
        scores = {
            short: value
            for metric, short in things.items()
            if (value := _whole(sums)[metric]) is not None
        }
        ap = self.evaluation.ap.numbers.get(f"AP/{name}", np.nan)
        if not np.isnan(ap):
            scores["AP"] = ap
        drawn = self.resampling.draw(sums.score, len(sums.images))
        bounds = _bounds({short: drawn[metric] for metric, short in things.items() if drawn})
        return Slice(
            "object size", name, int((true.sum(axis=1) > 0).sum()), int(true.sum()), scores, bounds
        )

    def _part(self, slicing: str, name: str, places: npt.NDArray[np.int64]) -> Slice:
        part = self.sums.chosen(places)
        weights = np.zeros((1, len(self.sums.images)))
        weights[0, places] = 1
        values = self._uncalibrated(weights)
        scores = {
            metric: float(values[metric][0])
            for metric in SLICE_METRICS
            if metric in values and not np.isnan(values[metric][0])
        }
        drawn = self.resampling.draw(part.score, len(places))
        bounds = _bounds({metric: drawn[metric] for metric in SLICE_METRICS if metric in drawn})
        return Slice(slicing, name, len(places), int(part.table[..., [1, 3]].sum()), scores, bounds)

    @cached_property
    def differences(self) -> list[Difference]:
        """From the baseline: of all headline numbers, by class, by image; none without a baseline."""
        if self.baseline is None:
            return []
        both = self, Analysis(self.baseline, self.resampling)
        rows = of_scores(
            [one.whole for one in both], [one.drawn for one in both], self.sums.categories
        )
        alone = [one.sums.by_image()[self.image_metric].tolist() for one in both]
        values = [[None if np.isnan(value) else value for value in column] for column in alone]
        return rows + differences(
            "image", self.sums.images, self.image_metric, (values[0], values[1]), None
        )

    @property
    def image_metric(self) -> str:
        """What ranks single images: PQ, or mIoU where nothing can be counted."""
        return "PQ" if self.sums.isthing.any() else "mIoU"


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
        resampling: how images are drawn anew.
        images: folder of the images, for their brightness; it may lack them.
        tags: slices of the user's own.
        baseline: the scores of another prediction of the same images.
        workers: processes; the result does not depend on it.

    Raises:
        ValueError: an image does not decode.
    """
    brightness = by_brightness(
        mean_luma(images, [image.record for image in evaluation.images], workers=workers)
    )
    slicings = [by_crowding(num_objects(evaluation))] if evaluation.categories.isthing.any() else []
    slicings += [brightness] if brightness is not None else []
    return Analysis(evaluation, resampling, [*slicings, *tags], baseline)


def _whole(sums: ImageSums) -> dict[str, float | None]:
    scores = sums.score(np.ones((1, len(sums.images))))
    return {
        name: None if np.isnan(values[0]) else float(values[0])
        for name, values in scores.items()
        if values.ndim == 1
    }


def _bounds(drawn: dict[str, Array]) -> dict[str, Interval]:
    found = {name: interval(values) for name, values in drawn.items()}
    return {name: bounds for name, bounds in found.items() if bounds is not None}
