"""The metric classes, and drawn images in the forms that they accept."""

import numpy as np
import torch

from drawn_folders import BALL, BOX, GROUND, SKY, moved, scene
from maskmill.canonical.panoptic import VOID_CATEGORY
from maskmill.metrics import BoundaryIoU, CalibrationError, ConfusionMatrix, MaskAP, PanopticQuality

TARGETS = [scene(seed) for seed in range(5)]
PREDS = [moved(target) for target in TARGETS]
ALL = {
    "panoptic": PanopticQuality,
    "union": lambda table: PanopticQuality(table, void_in_union=True),
    "semantic": ConfusionMatrix,
    "boundary": BoundaryIoU,
    "ap": MaskAP,
    "boundary_ap": lambda table: MaskAP(table, boundary=True),
    "calibration": CalibrationError,
}


def pixels(panoptic, *, void=VOID_CATEGORY, dtype=torch.int64):
    """[category, instance] of each pixel; a stuff segment's instance number is noise."""
    classes = panoptic.category_map()
    noise = np.arange(panoptic.ids.size).reshape(panoptic.size) % 3
    instances = np.where(np.isin(classes, [GROUND, SKY]), noise, panoptic.ids)
    return torch.from_numpy(
        np.stack([np.where(classes < 0, void, classes), instances], axis=-1)
    ).to(dtype)


def same_values(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name].nan_to_num(-1), second[name].nan_to_num(-1)), name
    return True


class Elsewhere(torch.Tensor):
    """A tensor that says it is on another device: what runs on a GPU runs here."""

    is_cpu = False


def elsewhere(tensor):
    return torch.Tensor._make_subclass(Elsewhere, tensor)


def objects(panoptic, *, scores=False):
    """The things of an image as torchmetrics' MeanAveragePrecision takes them."""
    things = [segment for segment in panoptic.segments if segment.category_id in (BALL, BOX)]
    masks = torch.from_numpy(np.stack([panoptic.ids == segment.id for segment in things]))
    rows = {"masks": masks, "labels": torch.tensor([segment.category_id for segment in things])}
    return rows | (
        {"scores": torch.tensor([segment.score for segment in things], dtype=torch.float64)}
        if scores
        else {}
    )
