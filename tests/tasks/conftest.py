"""Batches in the data module's form, of drawn scenes: balls and boxes on ground below a sky."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.data.targets import encode_targets
from maskmill.tasks.optimization import poly
from strategies import CATEGORIES

SIZE = 64
GROUND, SKY, BALL, BOX = 7, 0, 21, 3  # category ids
COLORS = {GROUND: (40, 110, 40), SKY: (130, 180, 250), BALL: (220, 40, 40), BOX: (220, 210, 60)}
THINGS = Categories([category for category in CATEGORIES if category.isthing])


def scene(seed):
    """Image (3, H, W) uint8 and its panoptic labels: two things that do not touch."""
    rng = np.random.default_rng(seed)
    ids = np.full((SIZE, SIZE), 1, np.int32)
    ids[: SIZE // 3] = 2
    category_of = {1: GROUND, 2: SKY}
    y, x = np.mgrid[:SIZE, :SIZE]
    for index, category_id in enumerate(rng.permutation([BALL, BOX]).tolist()):
        center_y = rng.integers(24, 50)
        center_x = rng.integers(9, 23) + 32 * index
        radius = rng.integers(5, 9)
        if category_id == BALL:
            inside = (y - center_y) ** 2 + (x - center_x) ** 2 <= radius**2
        else:
            inside = np.maximum(abs(y - center_y), abs(x - center_x)) <= radius
        ids[inside] = 3 + index
        category_of[3 + index] = category_id
    panoptic = Panoptic.from_ids(ids, category_of)
    colors = [(0, 0, 0), *(COLORS[category_of[segment_id]] for segment_id in range(1, 5))]
    noise = rng.integers(-15, 15, (SIZE, SIZE, 1))
    image = np.clip(np.array(colors)[ids] + noise, 0, 255).astype(np.uint8)
    return torch.from_numpy(image).permute(2, 0, 1), panoptic


def only_things(panoptic):
    """The same scene as a data set of objects on an unlabelled background."""
    kept = {}
    for segment in panoptic.segments:
        if segment.category_id in THINGS:
            kept[segment.id] = segment.category_id
    ids = np.where(np.isin(panoptic.ids, list(kept)), panoptic.ids, 0)
    return Panoptic.from_ids(ids, kept)


def collate(samples):
    images, panoptics, semantics, instances = [], [], [], []
    for image, panoptic, categories in samples:
        semantic, instance = encode_targets(panoptic, categories)
        images.append(image)
        panoptics.append(panoptic)
        semantics.append(torch.from_numpy(semantic))
        instances.append(torch.from_numpy(instance))
    return {
        "image": torch.stack(images),
        "semantic": torch.stack(semantics),
        "instance": torch.stack(instances),
        "panoptic": panoptics,
        "size": [panoptic.size for panoptic in panoptics],
        "valid": [True] * len(images),
    }


@pytest.fixture(scope="session")
def loader():
    """A loader of `num` drawn scenes with the given categories."""

    def make(num, categories=CATEGORIES, batch_size=4):
        samples = []
        for seed in range(num):
            image, panoptic = scene(seed)
            if categories != CATEGORIES:
                panoptic = only_things(panoptic)
            samples.append((image, panoptic, categories))
        return DataLoader(samples, batch_size=batch_size, collate_fn=collate)

    return make


@pytest.fixture(scope="session")
def schedule():
    """Poly decay without warm-up, as a scheduler partial."""
    return lambda optimizer, *, total_steps: poly(optimizer, total_steps=total_steps)


@pytest.fixture(scope="session")
def rates_of():
    """The learning rates of the first steps under a schedule, from a rate of 2."""

    def run(schedule, num, **arguments):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
        scheduler = schedule(optimizer, **arguments)
        rates = []
        for _ in range(num):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return rates

    return run
