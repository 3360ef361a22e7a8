"""Batches as the data module makes them, of scenes drawn here: coloured balls and boxes on ground below a sky."""

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
THINGS = Categories([category for category in CATEGORIES if category.isthing])
PAINT = {7: (40, 110, 40), 0: (130, 180, 250), 21: (220, 40, 40), 3: (220, 210, 60)}


def scene(seed):
    """Image (3, H, W) uint8 and its labels: two things that do not touch."""
    rng = np.random.default_rng(seed)
    ids = np.full((SIZE, SIZE), 1, np.int32)
    ids[: SIZE // 3] = 2
    category_of = {1: 7, 2: 0}
    y, x = np.mgrid[:SIZE, :SIZE]
    for place, category_id in enumerate(rng.permutation([21, 3]).tolist()):
        cy, cx, half = rng.integers(24, 50), rng.integers(9, 23) + 32 * place, rng.integers(5, 9)
        inside = (
            (y - cy) ** 2 + (x - cx) ** 2 <= half**2
            if category_id == 21
            else np.maximum(abs(y - cy), abs(x - cx)) <= half
        )
        ids[inside], category_of[3 + place] = 3 + place, category_id
    panoptic = Panoptic.from_ids(ids, category_of)
    table = np.array([(0, 0, 0), *(PAINT[category_of[number]] for number in range(1, 5))])
    image = np.clip(table[ids] + rng.integers(-15, 15, (SIZE, SIZE, 1)), 0, 255).astype(np.uint8)
    return torch.from_numpy(image).permute(2, 0, 1), panoptic


def only_things(panoptic):
    """The same scene as a data set of objects on an unlabelled background has it."""
    keep = [segment for segment in panoptic.segments if segment.category_id in THINGS]
    ids = np.where(np.isin(panoptic.ids, [segment.id for segment in keep]), panoptic.ids, 0)
    return Panoptic.from_ids(ids, {segment.id: segment.category_id for segment in keep})


def collate(samples):
    images, panoptics, categories = zip(*samples, strict=True)
    targets = [
        encode_targets(panoptic, table)
        for panoptic, table in zip(panoptics, categories, strict=True)
    ]
    return {
        "image": torch.stack(images),
        "semantic": torch.stack([torch.from_numpy(semantic) for semantic, _ in targets]),
        "instance": torch.stack([torch.from_numpy(instance) for _, instance in targets]),
        "panoptic": list(panoptics),
        "size": [panoptic.size for panoptic in panoptics],
        "valid": [True] * len(images),
    }


@pytest.fixture(scope="session")
def loader():
    """A loader of `num` drawn scenes with the given table."""

    def make(num, categories=CATEGORIES, batch_size=4):
        samples = []
        for seed in range(num):
            image, panoptic = scene(seed)
            samples.append(
                (image, panoptic if categories == CATEGORIES else only_things(panoptic), categories)
            )
        return DataLoader(samples, batch_size=batch_size, collate_fn=collate)

    return make


@pytest.fixture
def schedule():
    """Poly decay without warm-up, as a scheduler partial."""
    return lambda optimizer, *, total_steps: poly(optimizer, total_steps=total_steps)
