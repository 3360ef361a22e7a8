"""Panoptic quality: counted by hand, against a slow reference under hypothesis, and equal to the
official numbers.
"""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics import MetricCollection

from maskmill.canonical.files import read_json
from maskmill.canonical.folder import PanopticFolder
from maskmill.canonical.panoptic import Panoptic
from maskmill.evaluation.evaluation import evaluate_folders
from maskmill.metrics import ConfusionMatrix, PanopticQuality
from maskmill.metrics.functional.panoptic_quality import (
    match_segments,
    panoptic_per_class,
    panoptic_scores,
)
from strategies import CATEGORIES, panoptic_pairs, panoptics
from strips import CAT, PETS, strip

GOLDEN = [  # target, prediction, cats' sum of IoU, tp, fp, fn - counted by hand
    pytest.param("AAAAAAAAAA", "aaaaaa....", 0.6, 1, 0, 0, id="predicted void costs IoU: 6 of 10"),
    pytest.param("AAAAAAAA..", "aaaa......", 0.0, 0, 1, 1, id="IoU of exactly 4/8 is no match"),
    pytest.param("AAAAAAAAA.", "aaaaa.....", 5 / 9, 1, 0, 0, id="IoU of 5/9 is a match"),
    pytest.param("AAAAAAAAAA", "..........", 0.0, 0, 0, 1, id="all void is a miss"),
    pytest.param(
        "AAAA......", "aaaaaa....", 1.0, 1, 0, 0, id="target void leaves the union: 4 of 4"
    ),
    pytest.param(
        "##########", "aabbbccDDD", 0.0, 0, 0, 0, id="a crowd predicted as four things is ignored"
    ),
    pytest.param("##########", "..........", 0.0, 0, 0, 0, id="an unpredicted crowd is no miss"),
    pytest.param(
        "AAAA######", "aaaabbbccc", 1.0, 1, 0, 0, id="a thing beside its crowd still matches"
    ),
    pytest.param(
        "AAAA######", "aaaaaa....", 4 / 6, 1, 0, 0, id="a crowd's pixels stay in the union"
    ),
    pytest.param(
        "XXXX......", "xxxxaaa...", 0.0, 0, 0, 0, id="a false positive all on void is ignored"
    ),
    pytest.param(
        "XXXXX.....", "xxxaaaaaa.", 0.0, 0, 0, 0, id="a false positive 4/6 on void is ignored"
    ),
    pytest.param(
        "XXXXXX....",
        "xxxxaaaa..",
        0.0,
        0,
        1,
        0,
        id="a false positive exactly 2/4 on void is not ignored",
    ),
    pytest.param(
        "XX###.....", "xaaaaa....", 0.0, 0, 0, 0, id="void and crowd count together: 3/5 and 1/5"
    ),
    pytest.param(
        "X###%%%XXX", "xaaaaaaxxx", 0.0, 0, 0, 0, id="two crowds of one category count together"
    ),
    pytest.param(
        "XX##%%XXXX",
        "xaaaaaxxxx",
        0.0,
        0,
        0,
        0,
        id="two crowds are enough where neither alone is: 2/5 and 2/5",
    ),
    pytest.param("AAAAAAAAAA", "xxxxxxxxxx", 0.0, 0, 0, 1, id="another category never matches"),
    pytest.param("AAAABBBBB.", "aaaabbbbbb", 2.0, 2, 0, 0, id="two things are two matches"),
    pytest.param("AAAAAAAAAA", "aaaaaaabbb", 0.7, 1, 1, 0, id="a split thing matches once"),
    pytest.param("AAAAAABBBB", "aaaaaaaaaa", 0.6, 1, 0, 1, id="two merged things match once"),
    pytest.param("..........", "..........", 0.0, 0, 0, 0, id="nothing and nothing is nothing"),
]


@pytest.mark.parametrize(("target", "pred", "sum_iou", "tp", "fp", "fn"), GOLDEN)
def test_a_strip_equals_the_count_by_hand(target, pred, sum_iou, tp, fp, fn):
    counts = match_segments(strip(pred), strip(target), PETS, background=False)[PETS.index[CAT]]
    assert counts.tolist()[:4] == [
        pytest.approx(sum_iou, abs=1e-15),
        tp,
        fp,
        fn,
    ]  # one rounding of a division


BACKGROUND = [
    pytest.param(
        "XXXX......",
        "xxxxaaa...",
        0.0,
        0,
        1,
        0,
        id="a false positive on background is not ignored",
    ),
    pytest.param(
        "AAAA......", "aaaaa.....", 0.8, 1, 0, 0, id="background stays in the union: 4 of 5"
    ),
    pytest.param("AAA.......", "aaaaaa....", 0.0, 0, 1, 1, id="3 of 6 on background is no match"),
    pytest.param("##########", "aaaa......", 0.0, 0, 0, 0, id="a crowd forgives all the same"),
]


@pytest.mark.parametrize(("target", "pred", "sum_iou", "tp", "fp", "fn"), BACKGROUND)
def test_a_background_does_not_forgive(target, pred, sum_iou, tp, fp, fn):
    counts = match_segments(strip(pred), strip(target), PETS, background=True)[PETS.index[CAT]]
    assert counts.tolist()[:4] == [pytest.approx(sum_iou, abs=1e-15), tp, fp, fn]


def test_another_category_is_both_a_false_positive_and_missed():
    counts = match_segments(strip("xxxxxxxxxx"), strip("AAAAAAAAAA"), PETS, background=False)
    assert counts[:, :4].tolist() == [[0, 0, 0, 1], [0, 0, 1, 0]]


def test_a_crowd_forgives_only_its_own_category():
    counts = match_segments(strip("xxxxxxxxxx"), strip("##########"), PETS, background=False)
    assert counts[:, :4].tolist() == [[0, 0, 0, 0], [0, 0, 1, 0]]


def test_a_class_that_occurs_nowhere_is_left_out_of_the_mean():
    scores = panoptic_scores(
        match_segments(strip("aaaaaa...."), strip("AAAAAAAAAA"), PETS, background=False), PETS
    )
    assert scores["PQ"] == scores["PQ/thing"] == pytest.approx(0.6, abs=1e-15)  # not 0.3
    assert np.isnan(scores["PQ/stuff"])


def test_a_class_only_predicted_counts_as_zero():
    scores = panoptic_scores(
        match_segments(strip("aaaaaaxxxx"), strip("AAAAAAAAAA"), PETS, background=False), PETS
    )
    assert scores["PQ"] == pytest.approx(0.3, abs=1e-15)


def test_maps_of_two_sizes_are_refused():
    with pytest.raises(
        ValueError, match=r"size \(1, 3\), but got \(1, 2\) - predict at the original size"
    ):
        match_segments(strip("aa"), strip("AAA"), PETS, background=False)


# --- against a slow reference
# ------------------------------------------------------------------------------------------


def slow_counts(pred, target, categories, background):
    """Pixel by pixel and pair by pair: the rules of panopticapi's evaluation."""
    total = {category.id: [0.0, 0, 0, 0] for category in categories}
    shared, pred_area, target_area = {}, {}, {}
    for true_id, pred_id in zip(
        target.ids.flatten().tolist(), pred.ids.flatten().tolist(), strict=True
    ):
        shared[true_id, pred_id] = shared.get((true_id, pred_id), 0) + 1
        target_area[true_id] = target_area.get(true_id, 0) + 1
        pred_area[pred_id] = pred_area.get(pred_id, 0) + 1
    hit = set()
    for true in target.segments:
        for predicted in pred.segments:
            if true.iscrowd or true.category_id != predicted.category_id:
                continue
            both = shared.get((true.id, predicted.id), 0)
            union = target_area[true.id] + pred_area[predicted.id] - both
            if not background:
                union -= shared.get((0, predicted.id), 0)
            if 2 * both > union:
                total[true.category_id][0] += both / union
                total[true.category_id][1] += 1
                hit |= {("true", true.id), ("predicted", predicted.id)}
    crowd_of = {}
    for true in target.segments:
        if true.iscrowd:
            crowd_of[true.category_id] = true.id
        elif ("true", true.id) not in hit:
            total[true.category_id][3] += 1
    for predicted in pred.segments:
        if ("predicted", predicted.id) in hit:
            continue
        excused = 0 if background else shared.get((0, predicted.id), 0)
        if predicted.category_id in crowd_of:
            excused += shared.get((crowd_of[predicted.category_id], predicted.id), 0)
        if 2 * excused <= pred_area[predicted.id]:
            total[predicted.category_id][2] += 1
    return np.array([total[category.id] for category in categories], float)


@pytest.mark.slow
@given(panoptic_pairs(), st.booleans())
def test_counts_equal_the_slow_reference(pair, background):
    counts = match_segments(*pair, CATEGORIES, background=background)
    expected = slow_counts(*pair, CATEGORIES, background)
    assert np.array_equal(counts[:, 1:4], expected[:, 1:])
    np.testing.assert_allclose(
        counts[:, 0], expected[:, 0], rtol=0, atol=1e-14
    )  # the order of at most five additions


# --- laws
# ------------------------------------------------------------------------------------------

streams = st.lists(panoptic_pairs(), min_size=1, max_size=4)


def score(stream, *, batch=1):
    metric = PanopticQuality(CATEGORIES)
    for start in range(0, len(stream), batch):
        preds, targets = zip(*stream[start : start + batch], strict=True)
        metric.update(preds, targets)
    return metric


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:  # the order of a few additions of IoU
        torch.testing.assert_close(
            first[name], second[name], rtol=0, atol=1e-14, equal_nan=True, msg=name
        )


@given(panoptic_pairs())
def test_pq_is_sq_times_rq_in_each_category(pair):
    pq, sq, rq = panoptic_per_class(match_segments(*pair, CATEGORIES, background=False)).T
    np.testing.assert_allclose(pq, sq * rq, rtol=1e-14, atol=0, equal_nan=True)  # three roundings


@given(panoptic_pairs())
def test_every_score_lies_between_0_and_1(pair):
    for value in panoptic_scores(
        match_segments(*pair, CATEGORIES, background=False), CATEGORIES
    ).values():
        assert np.isnan(value) or 0 <= value <= 1


@pytest.mark.slow
@given(panoptic_pairs(), st.randoms(use_true_random=False))
def test_new_segment_ids_change_nothing(pair, random):
    def renumbered(panoptic):
        old = [segment.id for segment in panoptic.segments]
        new = dict(zip(old, random.sample(range(1, 2**24), len(old)), strict=True))
        ids = np.vectorize(lambda value: new.get(value, 0), otypes=[np.int32])(panoptic.ids)
        return Panoptic.from_ids(
            ids,
            {new[k]: v for k, v in panoptic.category_of.items()},
            crowds={new[key] for key in panoptic.crowds},
        )

    pred, target = pair
    first = match_segments(pred, target, CATEGORIES, background=False)
    second = match_segments(renumbered(pred), renumbered(target), CATEGORIES, background=False)
    assert np.array_equal(first[:, 1:], second[:, 1:])
    np.testing.assert_allclose(
        first[:, 0], second[:, 0], rtol=0, atol=1e-14
    )  # the order of additions


@pytest.mark.slow
@given(streams, st.randoms(use_true_random=False))
def test_the_order_of_the_images_changes_nothing(stream, random):
    shuffled = random.sample(stream, len(stream))
    assert_same(score(stream).compute(), score(shuffled).compute())


@pytest.mark.slow
@given(streams, st.integers(2, 4))
def test_other_batches_change_nothing(stream, batch):
    assert_same(score(stream).compute(), score(stream, batch=batch).compute())


@pytest.mark.slow
@given(streams, streams)
def test_two_metrics_merged_equal_one_that_saw_all(first, second):
    merged = score(first)
    merged.merge_state(score(second))
    assert_same(merged.compute(), score(first + second).compute())


@given(panoptics())
def test_a_perfect_prediction_scores_1(panoptic):
    scores = panoptic_scores(
        match_segments(panoptic, panoptic, CATEGORIES, background=False), CATEGORIES
    )
    assert scores["PQ"] == 1 if panoptic.segments else np.isnan(scores["PQ"])


# --- the real thing
# ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def coco(third_party_data):
    return third_party_data / "golden" / "coco_panoptic_pq"


@pytest.mark.parametrize("name", ["pred_identity", "pred_shift", "pred_things_only"])
def test_real_coco_images_score_what_panopticapi_says(coco, name):
    evaluation = evaluate_folders(coco / "gt.json", coco / f"{name}.json")
    expected = read_json(coco / "expected.json")[name]
    scores = evaluation.scores()
    for group, suffix in (("All", ""), ("Things", "/thing"), ("Stuff", "/stuff")):
        for short in ("pq", "sq", "rq"):  # 1e-12: sums in another order
            assert scores[f"{short.upper()}{suffix}"] == pytest.approx(
                expected[group][short], abs=1e-12
            ), (group, short)
    per_class = dict(
        zip(
            evaluation.categories.ids.tolist(),
            panoptic_per_class(evaluation.counts).tolist(),
            strict=True,
        )
    )
    for category_id, row in expected["per_class"].items():
        assert per_class.pop(int(category_id)) == pytest.approx(
            [row["pq"], row["sq"], row["rq"]], abs=1e-12
        )
    # what the official table leaves out either never occurs or scored 0
    assert all(np.isnan(row[0]) or row[0] == 0 for row in per_class.values())
    assert (
        sum(not np.isnan(row[0]) for row in per_class.values()) + len(expected["per_class"])
        == expected["All"]["n"]
    )


def test_the_metric_gives_the_folders_numbers(coco):
    target, pred = PanopticFolder(coco / "gt.json"), PanopticFolder(coco / "pred_shift.json")
    metric = PanopticQuality(target.categories)
    for record in target.records:
        metric.update([pred.panoptic(record.id)], [target.panoptic(record.id)])
    scores = evaluate_folders(coco / "gt.json", coco / "pred_shift.json").scores()
    assert float(metric.compute()["PQ"]) == scores["PQ"]


def test_a_metric_in_a_collection_gives_its_numbers_under_its_names():
    both = MetricCollection(
        {"panoptic": PanopticQuality(PETS), "semantic": ConfusionMatrix(PETS)},
        prefix="val/",
        compute_groups=False,
    )
    both["panoptic"].update([strip("aaaaaa....")], [strip("AAAAAAAAAA")])
    both["semantic"].update(
        [strip("aaaaaa....").category_map()], [strip("AAAAAAAAAA").category_map()]
    )
    values = both.compute()
    assert float(values["val/PQ"]) == float(values["val/mIoU"]) == pytest.approx(0.6, abs=1e-15)
    assert float(values["val/PQ/cat"]) == pytest.approx(0.6, abs=1e-15)
    assert torch.isnan(values["val/PQ/dog"])


STREAM = [(strip("aaaaaa...."), strip("AAAAAAAAAA")), (strip("xxxxbbbb.."), strip("XXXXX.BBBB"))]


def test_a_pickled_metric_keeps_its_counts():
    metric = score_pets(STREAM)
    assert_same(pickle.loads(pickle.dumps(metric)).compute(), metric.compute())
    assert_same(copy.deepcopy(metric).compute(), metric.compute())


def test_a_state_dict_carries_the_counts_where_asked_to():
    metric, restored = score_pets(STREAM), score_pets([])
    assert not metric.state_dict()
    for one in (metric, restored):
        one.persistent(True)
    restored.load_state_dict(metric.state_dict())
    assert_same(restored.compute(), metric.compute())


CASTS = {
    "half": torch.nn.Module.half,
    "to": lambda module: module.to(
        torch.bfloat16
    ),  # what Lightning does for precision=bf16-true; torchmetrics does not stop it
}


@pytest.mark.parametrize("cast", CASTS.values(), ids=CASTS)
def test_lower_precision_of_the_model_around_it_does_not_touch_the_counts(cast):
    metric = cast(torch.nn.ModuleDict({"metric": score_pets(STREAM)}))["metric"]
    assert metric.counts.dtype == torch.float64
    assert_same(metric.compute(), score_pets(STREAM).compute())


def test_a_reset_metric_has_seen_nothing():
    metric = score_pets(STREAM)
    metric.reset()
    assert torch.isnan(metric.compute()["PQ"])


def score_pets(stream):
    metric = PanopticQuality(PETS)
    for pred, target in stream:
        metric.update([pred], [target])
    return metric
