"""The sentences at the top of a report: each from numbers that can be counted by eye."""

import numpy as np
import pytest

from drawn_folders import BALL, BOX, GROUND, SKY, write_split
from maskmill.canonical.panoptic import Panoptic
from maskmill.evaluation.analysis import Analysis
from maskmill.evaluation.bootstrap import Resampling
from maskmill.evaluation.deciding import INSTANCE, PANOPTIC, SEMANTIC
from maskmill.evaluation.evaluation import evaluate_folders
from maskmill.reporting.findings import find_findings
from maskmill.reporting.origin import NO_ORIGIN, Origin
from maskmill.reporting.suggestions import find_suggestions

# Ground with a strip of sky, and squares on the ground.
SMALL, LARGE = 6, 40  # px, below and above 32 x 32 px


def labels(*squares, sky=SKY):
    """Squares of a category: left, side, category."""
    ids = np.full((60, 160), 1, np.int32)
    ids[:10] = 2
    category_of = {1: GROUND, 2: sky}
    for segment_id, (left, side, category) in enumerate(squares, start=3):
        ids[12 : 12 + side, left : left + side] = segment_id
        category_of[segment_id] = category
    return Panoptic.from_ids(ids, category_of)


def analysis_of(folder, target, pred):
    write_split(folder / "target", [target])
    write_split(folder / "prediction", [pred])
    return Analysis(evaluate_folders(folder / "target", folder / "prediction"), Resampling(0))


BALLS = [(0, SMALL, BALL), (20, SMALL, BALL)]
BOXES = [(50, LARGE, BOX), (100, LARGE, BOX)]


def test_classes_that_are_hardly_predicted_are_named_with_their_numbers(tmp_path):
    analysis = analysis_of(tmp_path, labels(*BALLS, *BOXES), labels(*BOXES))
    for task, words in (
        (PANOPTIC, "ball (0 of 2 segments)"),
        (INSTANCE, "ball (0 of 2 segments)"),
        (SEMANTIC, "ball (0.0 % of its pixels)"),
    ):
        assert find_findings(analysis, task, NO_ORIGIN).hardly_predicted == words


def test_where_every_class_is_predicted_the_one_that_is_found_least_is_named(tmp_path):
    analysis = analysis_of(tmp_path, labels(*BALLS, *BOXES), labels(*BALLS, BOXES[0]))
    findings = find_findings(analysis, PANOPTIC, NO_ORIGIN)
    assert findings.hardly_predicted == "no class. The least is found of box (1 of 2 segments)"


def shifted(squares, by):
    return [(left + by, side, category) for left, side, category in squares]


THRESHOLD = {"task": {"postprocess": {"threshold": 0.1}}}
STRIDE = {"network": {"output_stride": 16}}
# Squares of the ground truth and of the prediction, the configuration, the part of PQ that is lost
# most, and what is worth trying.
CASES = [
    (
        [*BALLS, *BOXES],
        BOXES,
        {},
        "missed",
        "Larger images, or larger crops of them: 100.0 % of the 2 segments below 32 x 32 px are "
        "missed, and 0.0 % of the 4 others.",  # sky and ground are segments as well
    ),
    ([*BALLS, *BOXES], BALLS, {}, "missed", "missed segments below; size does not explain them"),
    (
        BOXES[:1],
        [*BOXES, (0, SMALL, BALL)],
        THRESHOLD,
        "background",
        "then raise task.postprocess.threshold, which is 0.1.",
    ),
    (
        [*BALLS, *BOXES],
        [*BALLS, (50, LARGE, BALL), BOXES[1]],
        {},
        "classification",
        "1 of 1 segments with a wrong class are box predicted as ball.",
    ),
    (BOXES, shifted(BOXES, 9), STRIDE, "localization", "and the output stride is 16 (mIoU is"),
    (BOXES, shifted(BOXES, 9), {}, "localization", "Larger images, or a network with a finer"),
]


@pytest.mark.parametrize(("target", "pred", "config", "part", "words"), CASES)
def test_the_largest_loss_decides_what_is_worth_trying(tmp_path, target, pred, config, part, words):
    analysis = analysis_of(tmp_path, labels(*target), labels(*pred))
    origin = Origin(config=config)
    assert f"points, is {part}: " in find_findings(analysis, PANOPTIC, origin).largest_loss
    (suggestion,) = find_suggestions(analysis, PANOPTIC, origin, {})
    assert words in suggestion


def test_the_points_of_the_classes_add_up_to_what_is_lost(tmp_path):
    # Ball 0 of 2, the others exact but for the ground, which takes the balls' 72 of 5,600 px.
    analysis = analysis_of(tmp_path, labels(*BALLS, *BOXES), labels(*BOXES))
    findings = find_findings(analysis, PANOPTIC, NO_ORIGIN)
    assert findings.largest_loss == (
        "PQ lacks 25.4 points. The largest part, 25.0 points, is missed: segments of the ground "
        "truth that no prediction overlaps. Most of it: ball (25.0)"
    )


def test_a_model_that_predicts_nothing_is_not_told_to_enlarge_the_images(tmp_path):
    analysis = analysis_of(tmp_path, labels(*BALLS, *BOXES), labels())
    origin = Origin(config=THRESHOLD, history=curves((3, 3, 0.0), (2, 2, 0.0)))
    assert find_suggestions(analysis, INSTANCE, origin, {}) == [
        "Find out why so little is predicted: 0 segments, where the ground truth has 4. Train "
        "longer (trainer.max_epochs), or lower task.postprocess.threshold, which is 0.1."
    ]
    learning = find_findings(analysis, INSTANCE, origin).learning
    assert learning == "the validation PQ/thing was 0 in all 2 epochs"


def trained(**pixels):
    rows = [{"name": name, "pixels": number, "images": 3} for name, number in pixels.items()]
    return {"statistics": {"train": {"classes": rows}}}


EQUAL = {
    "loss": {"losses": [{"class_weights": {"_target_": "maskmill.losses.class_weights.equal"}}]}
}


@pytest.mark.parametrize(
    ("config", "dataset", "words"),
    [
        ({}, {}, "More images of ball, and a look at its labels: 100.0 % of its pixels are "),
        (EQUAL, trained(ball=1, ground=999), "class_weights=median_frequency) or more images of "),
        ({}, trained(ball=1, ground=999), "predicted as ground; it has 0.1 % of the training "),
        (EQUAL, trained(ball=1, ground=9), "predicted as ground; it has 10.0 % of the training "),
    ],
)
def test_a_semantic_report_names_the_class_that_costs_most(tmp_path, config, dataset, words):
    analysis = analysis_of(tmp_path, labels(*BALLS, *BOXES), labels(*BOXES))
    suggestions = find_suggestions(analysis, SEMANTIC, Origin(config=config), dataset)
    assert words in suggestions[0]
    few = "More training images of ball (3): less than half of each is found"
    assert [few in text for text in suggestions[1:]] == [True] * bool(dataset)


def curves(*rows):
    names = ("train/loss", "val/loss", "score")
    history = []
    for epoch, values in enumerate(rows, start=1):
        history.append({"epoch": epoch, **dict(zip(names, values, strict=True))})
    return history


RISING = curves((4, 4, 0.1), (3, 3, 0.2), (2, 2, 0.3), (1, 1, 0.4))
FLAT = curves((4, 4, 0.3), (3, 3, 0.4), (2, 3, 0.4), (1, 3, 0.4))
OVERFIT = curves((4, 4, 0.3), (3, 3, 0.4), (2, 3.5, 0.4), (1, 4.5, 0.4))


@pytest.mark.parametrize(
    ("history", "words"),
    [
        (RISING, ["Train longer (trainer.max_epochs): the validation PQ still rose by 10.0 "]),
        (FLAT, []),
        (
            OVERFIT,
            ["the validation loss was lowest after epoch 2 and is 50.0 % higher at the end"],
        ),
        (RISING[:3], []),  # too few epochs to say
    ],
)
def test_learning_curves_say_whether_to_train_longer(tmp_path, history, words):
    perfect = analysis_of(tmp_path, labels(*BOXES), labels(*BOXES))
    suggestions = find_suggestions(perfect, PANOPTIC, Origin(history=history), {})
    assert len(suggestions) == len(words)
    for suggestion, expected in zip(suggestions, words, strict=True):
        assert expected in suggestion


def test_the_best_epoch_is_named(tmp_path):
    perfect = analysis_of(tmp_path, labels(*BOXES), labels(*BOXES))
    findings = find_findings(perfect, SEMANTIC, Origin(history=FLAT))
    assert findings.learning == "the best validation mIoU, 40.0 %, came after epoch 2 of 4"
    assert find_findings(perfect, SEMANTIC, NO_ORIGIN).learning == ""
