import numpy as np
import pytest

from maskmill.metrics.comparison import compare, read_counts


def counts(*rows):
    """One category; a row per image: iou_sum, tp, fp, fn, intersection, union."""
    return {f"{place}.png": {"car": np.array(row, float)} for place, row in enumerate(rows)}


GOOD, BAD = (0.9, 1, 0, 0, 90, 100), (0.6, 1, 1, 0, 60, 100)


def test_scores_on_all_images_are_the_data_set_metrics():
    # PQ: (0.9 + 0.6) / (2 tp + 1/2 fp) = 0.6; mIoU: 150 / 200
    mixed = counts(GOOD, BAD)
    assert compare(mixed, mixed, metric="PQ", margin=0).candidate == pytest.approx(0.6)
    assert compare(mixed, mixed, metric="mIoU", margin=0).candidate == pytest.approx(0.75)


def test_better_on_every_image_is_certain_and_the_same_never_leads():
    assert compare(counts(GOOD, GOOD), counts(BAD, BAD), metric="PQ", margin=0).confidence == 1
    assert compare(counts(GOOD, BAD), counts(GOOD, BAD), metric="PQ", margin=0).confidence == 0


def test_better_on_half_of_the_images_and_worse_on_the_others_is_a_coin_toss():
    ours = counts(*[GOOD, BAD] * 20)
    theirs = counts(*[BAD, GOOD] * 20)
    confidence = compare(ours, theirs, metric="PQ", margin=0).confidence
    assert 0.3 < confidence < 0.6  # below one half: a tie is no lead


def test_a_lead_below_the_margin_does_not_count():
    assert compare(counts(GOOD), counts(BAD), metric="mIoU", margin=0.29).confidence == 1
    assert compare(counts(GOOD), counts(BAD), metric="mIoU", margin=0.31).confidence == 0


def test_a_class_that_no_image_of_a_resample_shows_is_left_out_of_its_average():
    rows = {"a": {"car": np.array(GOOD, float)}, "b": {"dog": np.array(BAD, float)}}
    assert compare(rows, rows, metric="mIoU", margin=0).candidate == pytest.approx((0.9 + 0.6) / 2)


def test_other_images_are_refused():
    with pytest.raises(ValueError, match=r"same images.*1\.png"):
        compare(counts(GOOD), counts(GOOD, GOOD), metric="PQ", margin=0)


def test_a_file_without_the_columns_is_refused(tmp_path):
    (tmp_path / "counts.csv").write_text("image,category,isthing,tp\na,car,1,1\n")
    with pytest.raises(ValueError, match=r"iou_sum.*evaluate` again"):
        read_counts(tmp_path / "counts.csv")
