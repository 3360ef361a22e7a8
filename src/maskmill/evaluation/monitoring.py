"""Observed images against the reference of their model: drift, estimated scores, what to label."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.evaluation.drift import (
    OF_CONFIDENCE,
    Drift,
    Features,
    find_drift,
    image_features,
    merged,
    pooled,
    prediction_features,
)
from maskmill.evaluation.label_free import Estimate, estimate_scores
from maskmill.evaluation.observation import Observation
from maskmill.evaluation.reference import Reference, observed

Floats = npt.NDArray[np.float64]

USUAL = (1, 99)  # percentiles of the reference; images outside are unusual
UNSURE = 5  # percentile of the reference's confidence; images below are unsure
MAX_REASONS = 4  # that are named for an image


@dataclass(frozen=True)
class Candidate:
    """An image worth labelling.

    Args:
        index: of the observation.
        name: of the image; empty if the log does not keep it.
        time: of the observation; empty if unknown.
        confidence: mean over its pixels.
        priority: the larger, the more worth.
        reasons: why it is listed.
    """

    index: int
    name: str
    time: str
    confidence: float
    priority: float
    reasons: str


@dataclass(frozen=True)
class Comparison:
    """What `maskmill monitor` found.

    Args:
        num_images: that were observed.
        num_reference: images of the reference: training and validation, and validation alone.
        period: first and last time of the observations; empty if unknown.
        drifts: of all features, those that drifted first.
        estimates: of the scores.
        candidates: images worth labelling, the most worth first.
        reference: features of the reference.
        current: features of the observations.
    """

    num_images: int
    num_reference: tuple[int, int]
    period: tuple[str, str]
    drifts: list[Drift]
    estimates: list[Estimate]
    candidates: list[Candidate]
    reference: Features
    current: Features

    @property
    def drifted(self) -> list[Drift]:
        """The features that drifted."""
        return list(filter(attrgetter("is_drift"), self.drifts))


def compare_with_reference(
    reference: Reference,
    observations: Sequence[Observation],
    categories: Categories,
    *,
    num_listed: int,
) -> Comparison:
    """Compare observed images with the reference of their model.

    Args:
        reference: of the model.
        observations: of images that the model predicted, enough for `require_images`.
        categories: of the model.
        num_listed: images to list for labelling, at most.
    """
    labelled = observed(reference.labelled)
    of_images = image_features([*reference.images, *labelled])
    of_predictions = pooled(
        prediction_features(labelled, categories), prediction_features(reference.images, categories)
    )
    before = merged(of_images, of_predictions)
    now = merged(image_features(observations), prediction_features(observations, categories))
    times = sorted(filter(None, map(attrgetter("time"), observations)))
    return Comparison(
        len(observations),
        (len(reference.images) + len(labelled), len(labelled)),
        (times[0], times[-1]) if times else ("", ""),
        find_drift(before, now),
        estimate_scores(reference, observations, categories),
        find_candidates(before, now, observations)[:num_listed],
        before,
        now,
    )


def find_candidates(
    before: Features, now: Features, observations: Sequence[Observation]
) -> list[Candidate]:
    """Images worth labelling: the model is unsure about them, or the reference has none like them.

    The priority is the mean doubt, 1 - confidence, plus a tenth for every unusual feature.
    """
    reasons: list[list[str]] = []
    for _ in observations:
        reasons.append([])
    for name, values in before.numbers.items():
        if name in OF_CONFIDENCE:
            continue
        for index in _unusual(values, now.numbers[name]).tolist():
            reasons[index].append(f"unusual {name}")
    confidence = now.numbers["confidence"]
    unsure = confidence < np.percentile(before.numbers["confidence"], UNSURE)
    for index in np.flatnonzero(unsure).tolist():
        reasons[index].insert(0, "unsure")
    priority = (1 - confidence) + np.array(list(map(len, reasons))) / 10
    candidates = []
    for index in np.argsort(-priority, kind="stable").tolist():
        if reasons[index]:
            candidates.append(_candidate(index, observations[index], confidence, priority, reasons))
    return candidates


def _candidate(
    index: int,
    seen: Observation,
    confidence: Floats,
    priority: Floats,
    reasons: Sequence[Sequence[str]],
) -> Candidate:
    return Candidate(
        index,
        seen.name,
        seen.time,
        round(float(confidence[index]), 4),
        round(float(priority[index]), 4),
        "; ".join(reasons[index][:MAX_REASONS]),
    )


def _unusual(reference: Floats, current: Floats) -> npt.NDArray[np.int64]:
    """Indices of values beyond the usual range of the reference, by a tenth of that range."""
    known = reference[~np.isnan(reference)]
    if not len(known):
        return np.zeros(0, np.int64)
    low, high = np.percentile(known, USUAL)
    margin = 0.1 * (high - low) + 1e-9
    return np.flatnonzero((current < low - margin) | (current > high + margin))
