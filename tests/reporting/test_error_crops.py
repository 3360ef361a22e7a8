import numpy as np
import pytest

from drawn_folders import BALL, BOX, SKY, write_split
from maskmill.canonical.folder import PanopticFolder
from maskmill.canonical.panoptic import Panoptic
from maskmill.evaluation.analysis import Analysis
from maskmill.evaluation.bootstrap import Resampling
from maskmill.evaluation.evaluation import evaluate_folders
from maskmill.reporting.error_crops import confident_errors, draw_error_crops, missed_objects
from maskmill.reporting.examples import Gallery


def labels(*things):
    """Sky with squares on it: left, side, category, score."""
    ids = np.full((20, 80), 1, np.int32)
    category_of = {1: SKY}
    scores = {}
    for segment_id, (left, side, category, score) in enumerate(things, start=2):
        ids[2 : 2 + side, left : left + side] = segment_id
        category_of[segment_id] = category
        if score is not None:
            scores[segment_id] = score
    return Panoptic.from_ids(ids, category_of, scores=scores)


TARGETS = [
    labels((0, 8, BALL, None)),
    labels((0, 8, BALL, None), (20, 12, BOX, None), (60, 6, BOX, None)),
    labels((0, 8, BALL, None)),
]
PREDS = [
    # a background error
    labels((0, 8, BALL, 0.9), (40, 5, BOX, 0.7)),
    # a classification error and a background error; both boxes are missed
    labels((0, 8, BOX, 0.8), (40, 5, BOX, 0.2)),
    labels((0, 8, BALL, 0.99)),  # right
]


def gallery_of(folder, preds):
    target = write_split(folder / "target", TARGETS, images=True)
    prediction = write_split(folder / "prediction", preds)
    analysis = Analysis(evaluate_folders(target, prediction), Resampling(0))
    images = target / "images"
    options = {"images": images, "num_examples": 3, "baseline": None}
    return Gallery.from_folders(analysis, PanopticFolder(target), prediction, **options)


@pytest.fixture
def gallery(tmp_path):
    return gallery_of(tmp_path, PREDS)


def test_the_most_confident_error_of_each_image_comes_first(gallery):
    images = gallery.analysis.evaluation.images
    errors = confident_errors(gallery)
    scores = [images[error.image].matches.pred.score[error.row] for error in errors]
    assert [error.image for error in errors] == [1, 0]
    assert scores == [0.8, 0.7]


def test_the_largest_missed_object_of_each_image_is_shown(gallery):
    (error,) = missed_objects(gallery)
    areas = gallery.analysis.evaluation.images[error.image].matches.target.area
    assert error.image == 1
    assert areas[error.row] == 144


def test_descriptions_name_the_kind_of_error(gallery):
    confident, missed = draw_error_crops(gallery)
    texts = [(crop.class_name, crop.description, crop.file_name) for crop in confident.crops]
    assert texts == [
        ("box", "score 80.0, 64 px: classification error: the ground truth says ball", "002.png"),
        (
            "box",
            "score 70.0, 25 px: background error: the ground truth has no such segment",
            "001.png",
        ),
    ]
    (crop,) = missed.crops
    assert crop.class_name == "box"
    assert crop.description == "144 px: missed: no such segment was predicted"
    assert crop.file_name == "002.png"


def test_each_error_has_three_pictures(gallery):
    confident, _ = draw_error_crops(gallery)
    for crop in confident.crops:
        assert list(crop.pictures) == ["photograph", "ground truth", "prediction"]


def test_a_perfect_prediction_has_no_errors(tmp_path):
    assert draw_error_crops(gallery_of(tmp_path, TARGETS)) == []


def test_predictions_without_scores_are_ranked_by_area(tmp_path):
    bare = [Panoptic.from_ids(pred.ids, pred.category_of) for pred in PREDS]
    confident, _ = draw_error_crops(gallery_of(tmp_path, bare))
    descriptions = [crop.description for crop in confident.crops]
    assert [text.partition(":")[0] for text in descriptions] == ["64 px", "25 px"]
