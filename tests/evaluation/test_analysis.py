"""Intervals, slices and differences of real evaluations, against the evaluation itself."""

from dataclasses import replace

import numpy as np
import pytest

from drawn_folders import BALL, SKY, moved, scene, write_instances, write_split
from maskmill.canonical.panoptic import Panoptic
from maskmill.evaluation.analysis import Analysis, analyse
from maskmill.evaluation.bootstrap import Resampling
from maskmill.evaluation.evaluation import evaluate_folders
from maskmill.evaluation.scored_images import ScoredChunk, ScoredImages
from maskmill.evaluation.slices import Slicing
from strategies import CATEGORIES

TARGETS = [scene(seed) for seed in range(7)]  # a number that 2 and 3 workers do not divide
PREDS = [moved(ground_truth) for ground_truth in TARGETS]


def evaluated(root, preds=PREDS, *, targets=TARGETS, background=None, workers=1):
    target, prediction = (
        write_split(root / "target", targets),
        write_split(root / "prediction", preds),
    )
    write_instances(prediction, preds)
    return evaluate_folders(target, prediction, background=background, workers=workers)


def selected(images, indices):
    chosen = [images[index] for index in indices]
    records = [image.record for image in chosen]
    return ScoredImages(records, [ScoredChunk(chosen)], len(chosen))


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    return evaluated(tmp_path_factory.mktemp("analysis"))


@pytest.mark.parametrize("background", [False, True])
def test_weights_of_one_give_every_headline_number(tmp_path, background):
    evaluation = evaluated(tmp_path, background=background)
    analysis = Analysis(evaluation, Resampling(0))
    expected = evaluation.scores()
    assert expected.keys() <= analysis.whole.keys()
    for name, value in expected.items():
        computed = float(analysis.whole[name][0])
        assert computed == pytest.approx(
            np.nan if value is None else value, abs=1e-14, nan_ok=True
        ), name  # sums in another order


def test_a_selection_of_images_scores_like_those_images_alone(evaluation):
    chosen = [0, 2, 3]
    alone = replace(evaluation, images=selected(evaluation.images, chosen))
    weights = np.zeros((1, len(evaluation.images)))
    weights[0, chosen] = 1
    scores = Analysis(evaluation, Resampling(0))._score(weights)
    for name, value in alone.scores().items():
        assert float(scores[name][0]) == pytest.approx(
            np.nan if value is None else value, abs=1e-14, nan_ok=True
        ), name


def test_a_perfect_prediction_is_certain(tmp_path):
    preds = [
        Panoptic.from_ids(
            ground_truth.ids,
            ground_truth.category_of,
            scores=dict.fromkeys(ground_truth.category_of, 1.0),
        )
        for ground_truth in TARGETS
    ]
    analysis = Analysis(evaluated(tmp_path, preds), Resampling(50))
    for name in (
        "PQ",
        "SQ",
        "RQ",
        "PQ/thing",
        "PQ/stuff",
        "mIoU",
        "fwIoU",
        "pixel_accuracy",
        "Dice",
        "boundary_mIoU",
        "AP",
        "AP75",
    ):
        assert analysis.bounds[name] == (1, 1), name
    assert analysis.scores["ECE"] == 0


def test_every_number_lies_within_its_interval(evaluation):
    analysis = Analysis(evaluation, Resampling(200))
    assert analysis.bounds.keys() == {
        name for name, value in analysis.scores.items() if value is not None
    }
    for name in (
        "PQ",
        "SQ",
        "RQ",
        "mIoU",
        "fwIoU",
        "pixel_accuracy",
        "boundary_mIoU",
        "AP",
        "AP50",
    ):
        low, high = analysis.bounds[name]
        assert low < analysis.scores[name] < high, name


def test_the_order_of_the_images_changes_the_numbers_of_no_slice(evaluation):
    turned = replace(evaluation, images=selected(evaluation.images, range(6, -1, -1)))
    halves = [Slicing("half", ("first",) * 3 + ("second",) * 4, ("first", "second"))]
    turned_halves = [Slicing("half", ("second",) * 4 + ("first",) * 3, ("first", "second"))]
    one, other = (
        Analysis(evaluation, Resampling(0), halves),
        Analysis(turned, Resampling(0), turned_halves),
    )
    for first, second in zip(one.slices, other.slices, strict=True):
        assert (first.slicing, first.name, first.num_images, first.num_segments) == (
            second.slicing,
            second.name,
            second.num_images,
            second.num_segments,
        )
        assert first.scores == pytest.approx(second.scores, abs=1e-14)  # sums in another order


def test_sizes_add_up_to_all_things(tmp_path):
    def balls(*sides):
        ids = np.full((120, 400), 1, np.int32)
        for number, (left, side) in enumerate(sides, start=2):
            ids[4 : 4 + side, left : left + side] = number
        return Panoptic.from_ids(ids, {1: SKY} | dict.fromkeys(range(2, 2 + len(sides)), BALL))

    ground_truth = balls(
        (0, 31), (60, 32), (120, 96), (260, 96)
    )  # small, medium, and two large; one of these is missed
    pred = balls((0, 31), (60, 32), (120, 96), (370, 20))  # and a small one invented
    analysis = Analysis(evaluated(tmp_path, [pred], targets=[ground_truth]), Resampling(0))
    scores = {part.name: (part.num_segments, part.scores["PQ"]) for part in analysis.slices}
    assert scores == {"small": (1, 1 / 1.5), "medium": (1, 1), "large": (2, 1 / 1.5)}
    assert sum(number for number, _ in scores.values()) == 4


def test_slices_sum_to_the_whole(tmp_path, evaluation):
    tag = Slicing("tag", tuple("abcabca"), ("a", "b", "c"))
    analysis = analyse(
        evaluation, Resampling(0), images=tmp_path, tags=[tag]
    )  # no image there: no brightness
    assert {part.slicing for part in analysis.slices} == {"object size", "crowding", "tag"}
    for slicing in ("crowding", "tag"):
        parts = [part for part in analysis.slices if part.slicing == slicing]
        assert sum(part.num_images for part in parts) == len(evaluation.images)
        assert sum(part.num_segments for part in parts) == evaluation.counts[:, [1, 3]].sum()
    things = evaluation.counts[CATEGORIES.isthing][:, [1, 3]].sum()
    assert (
        sum(part.num_segments for part in analysis.slices if part.slicing == "object size")
        == things
    )


def test_a_slice_of_everything_scores_like_everything(evaluation):
    analysis = Analysis(evaluation, Resampling(30), [Slicing("all", ("all",) * 7, ("all",))])
    (part,) = [part for part in analysis.slices if part.slicing == "all"]
    for name, value in part.scores.items():
        assert value == pytest.approx(analysis.scores[name], abs=1e-14), name
    assert part.bounds == {name: analysis.bounds[name] for name in part.bounds}


def test_a_prediction_differs_from_itself_by_nothing(evaluation):
    analysis = Analysis(evaluation, Resampling(40), baseline=evaluation)
    assert {row.kind for row in analysis.differences} == {"all", "class", "image"}
    assert {row.difference for row in analysis.differences} == {0}
    assert {(row.bounds, row.leads) for row in analysis.differences if row.kind != "image"} == {
        ((0, 0), 0)
    }


def test_a_better_prediction_leads_in_what_grows_and_in_what_shrinks(tmp_path, evaluation):
    worse = evaluated(tmp_path, [moved(ground_truth, by=6) for ground_truth in TARGETS])
    rows = {
        row.metric: row
        for row in Analysis(evaluation, Resampling(40), baseline=worse).differences
        if row.kind == "all"
    }
    for name in ("PQ", "mIoU", "PQ/lost/missed"):
        assert (rows[name].significance, rows[name].leads) == (1, 1), name
    assert rows["PQ"].difference > 0 > rows["PQ/lost/missed"].difference


def test_scores_that_are_no_probabilities_have_no_calibration_error_and_say_so(tmp_path, caplog):
    preds = [
        Panoptic.from_ids(pred.ids, pred.category_of, scores=dict.fromkeys(pred.category_of, 7.5))
        for pred in PREDS
    ]
    analysis = Analysis(evaluated(tmp_path, preds), Resampling(5))
    assert "ECE" not in analysis.scores
    assert "no calibration error: expected scores in 0..1, but got [7.5" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 3])
def test_the_number_of_workers_does_not_change_a_bit(tmp_path, workers, evaluation):
    ours, theirs = (
        Analysis(one, Resampling(20)) for one in (evaluation, evaluated(tmp_path, workers=workers))
    )
    assert ours.scores == theirs.scores
    assert ours.bounds == theirs.bounds
