import numpy as np
import pytest

from drawn_folders import BALL, BOX, SKY, write_split
from maskmill.canonical.folder import PanopticFolder
from maskmill.canonical.panoptic import Panoptic
from maskmill.evaluation.analysis import Analysis
from maskmill.evaluation.bootstrap import Resampling
from maskmill.evaluation.evaluation import evaluate_folders
from maskmill.reporting.examples import Gallery
from maskmill.reporting.mistakes import confident, missed, mistakes


def labels(*things):
    """Sky, and squares on it: left, side, category, score."""
    ids = np.full((20, 80), 1, np.int32)
    for number, (left, side, _, _) in enumerate(things, start=2):
        ids[2 : 2 + side, left : left + side] = number
    classes = {1: SKY} | {number: key for number, (_, _, key, _) in enumerate(things, start=2)}
    return Panoptic.from_ids(
        ids,
        classes,
        scores={number: one[3] for number, one in enumerate(things, start=2) if one[3] is not None},
    )


TRUTHS = [
    labels((0, 8, BALL, None)),
    labels((0, 8, BALL, None), (20, 12, BOX, None), (60, 6, BOX, None)),
    labels((0, 8, BALL, None)),
]
PREDS = [
    labels((0, 8, BALL, 0.9), (40, 5, BOX, 0.7)),  # one invented
    labels(
        (0, 8, BOX, 0.8), (40, 5, BOX, 0.2)
    ),  # one called another class, one invented; both boxes missed
    labels((0, 8, BALL, 0.99)),  # right
]


@pytest.fixture
def gallery(tmp_path):
    target, prediction = (
        write_split(tmp_path / "target", TRUTHS, images=True),
        write_split(tmp_path / "prediction", PREDS),
    )
    analysis = Analysis(evaluate_folders(target, prediction), Resampling(0))
    return Gallery.of(
        analysis,
        PanopticFolder(target),
        prediction,
        images=target / "images",
        num_examples=3,
        baseline=None,
    )


def test_the_surest_mistake_of_each_image_comes_first(gallery):
    found = [
        (one.image, gallery.analysis.evaluation.images[one.image].matches.pred.score[one.row])
        for one in confident(gallery)
    ]
    assert found == [(1, 0.8), (0, 0.7)]


def test_the_largest_missed_object_of_each_image_is_shown(gallery):
    found = [
        (one.image, int(gallery.analysis.evaluation.images[one.image].matches.target.area[one.row]))
        for one in missed(gallery)
    ]
    assert found == [(1, 144)]


def test_captions_say_what_the_truth_has_in_its_place(gallery):
    sure, large = mistakes(gallery)
    assert "<b>box</b> score 80.0, 64 px: the truth calls it ball<br>002.png" in sure
    assert "<b>box</b> score 70.0, 25 px: the truth has nothing like it<br>001.png" in sure
    assert "<b>box</b> 144 px: nothing like it was predicted<br>002.png" in large
    assert sure.count("<figure>") == 2
    assert sure.count("<img") == 6


def test_a_perfect_prediction_has_no_mistakes(tmp_path):
    target = write_split(tmp_path / "target", TRUTHS)
    analysis = Analysis(evaluate_folders(target, target), Resampling(0))
    gallery = Gallery.of(
        analysis, PanopticFolder(target), target, images=target, num_examples=3, baseline=None
    )
    assert list(mistakes(gallery)) == []


def test_predictions_without_scores_are_ranked_by_area(tmp_path):
    target = write_split(tmp_path / "target", TRUTHS)
    bare = [Panoptic.from_ids(pred.ids, pred.category_of) for pred in PREDS]
    prediction = write_split(tmp_path / "prediction", bare)
    analysis = Analysis(evaluate_folders(target, prediction), Resampling(0))
    gallery = Gallery.of(
        analysis, PanopticFolder(target), prediction, images=target, num_examples=3, baseline=None
    )
    areas = [
        int(gallery.analysis.evaluation.images[one.image].matches.pred.area[one.row])
        for one in confident(gallery)
    ]
    assert areas == [64, 25]
    assert "score" not in "".join(mistakes(gallery))
