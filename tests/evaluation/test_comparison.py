import numpy as np
import pytest

from maskmill.evaluation.bootstrap import Resampling
from maskmill.evaluation.comparison import compare, differences_of_counts
from maskmill.evaluation.image_counts import FIELDS, NUM_FIELDS, ImageCounts, read_image_counts

GOOD, BAD = (0.9, 1, 0, 0, 90, 100), (0.6, 1, 1, 0, 60, 100)
NOTHING = (0, 0, 0, 0, 0, 0)


def sums(*images, categories=("car",), things=(True,)):
    """Counts of images; each is the row of its only class (iou_sum, tp, fp, fn, intersection,
    union), or several rows.
    """
    table = np.full((len(images), len(categories) + 1, NUM_FIELDS), np.nan)
    for place, image in enumerate(images):
        table[place, :, :6] = [*(image if len(categories) > 1 else [image]), NOTHING]
    return ImageCounts(
        tuple(f"{place}.png" for place in range(len(images))), categories, np.array(things), table
    )


def test_scores_on_all_images_are_the_data_set_metrics():
    # PQ: (0.9 + 0.6) / (2 tp + 1/2 fp) = 0.6; mIoU: 150 / 200
    mixed = sums(GOOD, BAD)
    assert compare(
        mixed, mixed, metric="PQ", margin=0, resampling=Resampling()
    ).candidate == pytest.approx(0.6)
    assert compare(
        mixed, mixed, metric="mIoU", margin=0, resampling=Resampling()
    ).candidate == pytest.approx(0.75)


def test_a_model_better_on_every_image_leads_and_an_equal_one_never_does():
    assert (
        compare(
            sums(GOOD, GOOD), sums(BAD, BAD), metric="PQ", margin=0, resampling=Resampling()
        ).confidence
        == 1
    )
    assert (
        compare(
            sums(GOOD, BAD), sums(GOOD, BAD), metric="PQ", margin=0, resampling=Resampling()
        ).confidence
        == 0
    )


def test_better_on_half_of_the_images_and_worse_on_the_others_is_a_coin_toss():
    ours = sums(*[GOOD, BAD] * 20)
    theirs = sums(*[BAD, GOOD] * 20)
    confidence = compare(ours, theirs, metric="PQ", margin=0, resampling=Resampling()).confidence
    assert 0.3 < confidence < 0.6  # below one half: a tie is no lead


def test_a_lead_below_the_margin_does_not_count():
    assert (
        compare(
            sums(GOOD), sums(BAD), metric="mIoU", margin=0.29, resampling=Resampling()
        ).confidence
        == 1
    )
    assert (
        compare(
            sums(GOOD), sums(BAD), metric="mIoU", margin=0.31, resampling=Resampling()
        ).confidence
        == 0
    )


def test_a_class_that_no_image_of_a_resample_shows_is_left_out_of_its_average():
    rows = sums([GOOD, NOTHING], [NOTHING, BAD], categories=("car", "dog"), things=(True, True))
    assert compare(
        rows, rows, metric="mIoU", margin=0, resampling=Resampling()
    ).candidate == pytest.approx((0.9 + 0.6) / 2)


def test_only_things_decide_where_things_are_asked_for():
    ours = sums([GOOD, BAD], categories=("car", "sky"), things=(True, False))
    theirs = sums([BAD, GOOD], categories=("car", "sky"), things=(True, False))
    assert (
        compare(ours, theirs, metric="PQ/thing", margin=0, resampling=Resampling()).confidence == 1
    )
    assert compare(ours, theirs, metric="PQ", margin=0, resampling=Resampling()).confidence == 0


def test_other_images_are_refused():
    with pytest.raises(ValueError, match=r"same images.*1\.png"):
        compare(sums(GOOD), sums(GOOD, GOOD), metric="PQ", margin=0, resampling=Resampling())


def test_images_and_classes_may_be_in_another_order():
    ours = sums([GOOD, NOTHING], [NOTHING, BAD], categories=("car", "sky"), things=(True, False))
    theirs = ours.reorder(("1.png", "0.png"), ("sky", "car"))
    assert [
        (row.difference, row.bounds) for row in differences_of_counts(ours, theirs, Resampling(50))
    ] == [(0, (0, 0))] * len(differences_of_counts(ours, ours, Resampling(0)))


def test_a_prediction_differs_from_itself_by_exactly_0():
    rows = differences_of_counts(sums(GOOD, BAD), sums(GOOD, BAD), Resampling(200))
    assert {row.metric for row in rows} >= {"PQ", "SQ", "RQ", "PQ/thing", "mIoU", "Dice"}
    assert {(row.difference, row.bounds, row.leads) for row in rows} == {(0, (0, 0), 0)}


def test_a_difference_of_two_images_has_an_interval_from_the_worse_to_the_better():
    # image 0: 90 against 60 %, image 1: equal. Drawn twice: +0.3, 0, or 0.15 for one of each; each
    # of the first two in 1/4 of resamples.
    (row,) = [
        row
        for row in differences_of_counts(sums(GOOD, GOOD), sums(BAD, GOOD), Resampling(1000))
        if (row.metric, row.kind) == ("mIoU", "all")
    ]
    assert (row.value, row.baseline) == (0.9, 0.75)
    assert row.bounds == pytest.approx((0, 0.3))
    assert row.leads == pytest.approx(0.75, abs=0.05)  # 1000 draws: 0.014 standard deviation


def test_without_resamples_there_are_differences_without_intervals():
    assert {
        (row.bounds, row.leads)
        for row in differences_of_counts(sums(GOOD), sums(BAD), Resampling(0))
    } == {(None, None)}


def test_a_class_of_one_model_only_is_compared_with_nothing():
    theirs = sums(GOOD, categories=("dog",))
    rows = {
        row.name: row
        for row in differences_of_counts(sums(GOOD), theirs, Resampling(10))
        if row.kind == "class" and row.metric == "PQ"
    }
    assert (rows["car"].value, rows["car"].baseline, rows["car"].difference) == (0.9, None, None)


def test_a_file_without_the_columns_is_refused(tmp_path):
    (tmp_path / "counts.csv").write_text("image,category,isthing,tp\na,car,1,1\n")
    with pytest.raises(ValueError, match=r"iou_sum.*evaluate` again"):
        read_image_counts(tmp_path / "counts.csv")


def test_a_file_of_an_earlier_version_has_no_boundaries_and_no_accuracy(tmp_path):
    (tmp_path / "counts.csv").write_text(
        "image,category,isthing," + ",".join(FIELDS) + "\na,car,1,0.9,1,0,0,90,100\n"
    )
    scores = read_image_counts(tmp_path / "counts.csv").score(np.ones((1, 1)))
    assert (scores["PQ"], scores["mIoU"]) == (0.9, 0.9)
    assert np.isnan([scores[name] for name in ("boundary_mIoU", "pixel_accuracy", "fwIoU")]).all()
