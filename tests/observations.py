"""Observations as a camera and a model would give them, drawn without images or a network."""

import numpy as np

from maskmill.canonical.categories import Categories, Category
from maskmill.evaluation.observation import NUM_BINS, Observation, ObservedSegment
from maskmill.evaluation.reference import LabelledObservation, PixelCount

ROAD, SKY, CAR = 7, 11, 26
STREET = Categories(
    [
        Category(ROAD, "road", False, (128, 64, 128)),
        Category(SKY, "sky", False, (70, 130, 180)),
        Category(CAR, "car", True, (0, 0, 142)),
    ]
)


def draw_observation(
    random, *, brightness=1.0, sharpness=1.0, cars=2.0, size=1.0, doubt=0.15, name=""
):
    """One image: how its numbers differ from the usual ones is given by factors."""
    height, width = round(96 * size), round(160 * size)
    pixels = height * width
    mean = np.clip(random.normal(110, 12, 3) * brightness, 0, 255)
    num_cars = int(random.poisson(cars))
    areas = random.integers(200, 600, num_cars).clip(max=pixels // 20)
    road = int((pixels - areas.sum()) * random.uniform(0.4, 0.6))
    areas_of = {ROAD: road, SKY: pixels - road - int(areas.sum()), CAR: int(areas.sum())}
    confidence = {}
    for category_id, area in areas_of.items():
        unsure = random.beta(2, 2 / doubt - 2)
        low, high = int(area * unsure), area - int(area * unsure)
        bins = [0] * NUM_BINS
        bins[11], bins[19] = low, high
        confidence[str(category_id)] = bins
    segments = [ObservedSegment(key, areas_of[key], 0.95) for key in (ROAD, SKY)]
    for area in areas.tolist():
        segments.append(ObservedSegment(CAR, area, round(float(random.uniform(0.5, 1)), 4)))
    return Observation(
        height,
        width,
        mean.round(4).tolist(),
        random.normal(50, 4, 3).round(4).tolist(),
        round(float(random.lognormal(6, 0.3) * sharpness), 4),
        confidence,
        0,
        segments,
        name=name,
    )


def draw_observations(seed, count, **changes):
    random = np.random.default_rng(seed)
    return [draw_observation(random, **changes) for _ in range(count)]


def labelled(seen, accuracies, rate):
    """Outcomes in proportion: bins 11 and 19 are right so often; so many cars match."""
    pixels = []
    index_of = {str(key): index for index, key in enumerate((ROAD, SKY, CAR))}
    for key, bins in seen.confidence.items():
        pred = index_of[key]
        for bin_index, accuracy in accuracies.items():
            right = round(bins[bin_index] * accuracy)
            wrong = bins[bin_index] - right
            rows = [(pred, right), ((pred + 1) % 3, wrong)]
            for target, count in rows:
                if count:
                    pixels.append(PixelCount(pred, bin_index, target, count))
    iou = []
    missed = {}
    for number, segment in enumerate(seen.segments):
        is_match = (number % 10) < 10 * rate or segment.category_id != CAR
        iou.append(0.8 if is_match else 0.0)
        if not is_match:
            missed[str(CAR)] = missed.get(str(CAR), 0) + 1
    return LabelledObservation(seen, pixels, iou, missed)
