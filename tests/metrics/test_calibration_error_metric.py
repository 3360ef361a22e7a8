"""CalibrationError of segments."""

import numpy as np

from drawn_folders import BALL, BOX
from maskmill.canonical.panoptic import Panoptic
from maskmill.metrics import CalibrationError
from metric_cases import TARGETS
from strategies import CATEGORIES


def test_without_scores_there_is_no_calibration():
    metric = CalibrationError(CATEGORIES)
    metric.update(TARGETS, TARGETS)
    assert metric.compute()["ECE"].isnan()


def test_segments_are_calibrated_where_score_and_share_agree():
    ids = np.array([[1, 1, 2, 2]])
    target = Panoptic.from_ids(ids, {1: BALL, 2: BOX})
    metric = CalibrationError(CATEGORIES)
    metric.update(
        [Panoptic.from_ids(ids, {1: BALL, 2: BALL}, scores={1: 0.5, 2: 0.5})], [target]
    )  # half of them right
    assert metric.compute()["ECE"] == 0
