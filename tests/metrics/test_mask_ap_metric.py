"""MaskAP from objects in the form of torchmetrics' MeanAveragePrecision."""

import pytest
import torch

from maskmill.metrics import MaskAP
from metric_cases import PREDS, TARGETS, objects, same_values
from strategies import CATEGORIES


def test_objects_of_torchmetrics_give_the_ap_of_segments():
    segments, tensors = MaskAP(CATEGORIES), MaskAP(CATEGORIES)
    segments.update(PREDS, TARGETS)
    tensors.update(
        [objects(pred, scores=True) for pred in PREDS], [objects(target) for target in TARGETS]
    )
    assert same_values(segments.compute(), tensors.compute())


def test_objects_of_a_class_that_is_no_thing_are_refused():
    rows = objects(TARGETS[0])
    with pytest.raises(ValueError, match=r"category ids of things, \[3, 21\], but got \[0\]"):
        MaskAP(CATEGORIES).update([rows | {"labels": torch.zeros_like(rows["labels"])}], [rows])
