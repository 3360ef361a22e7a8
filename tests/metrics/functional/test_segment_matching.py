"""What became of each segment, and how much of PQ each outcome costs: strips counted by hand, and
laws.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.runs import Overlaps
from maskmill.metrics.functional.panoptic_quality import (
    LOSSES,
    count_matches,
    match_segments,
    panoptic_losses,
    panoptic_per_class,
    panoptic_scores,
)
from maskmill.metrics.functional.segment_matching import (
    SegmentOutcome,
    find_matches,
    match_overlaps,
)
from strategies import CATEGORIES, panoptic_pairs
from strips import CAT, PETS, strip

# target, prediction, outcomes of the target segments and of the predicted ones, by letter
OUTCOMES = [
    pytest.param("AAAAAAAAAA", "aaaaaaa...", "A matched", "a matched", id="a match"),
    pytest.param(
        "AAAAAAAAAA",
        "aaaaa.....",
        "A localization_error",
        "a localization_error",
        id="IoU of exactly 1/2 is a localization error",
    ),
    pytest.param(
        "AAAAAAAAAA",
        "a.........",
        "A missed",
        "a background_error",
        id="IoU of exactly 1/10 is none",
    ),
    pytest.param(
        "AAAAAAAAAA",
        "xxxxxxxxx.",
        "A classification_error",
        "x classification_error",
        id="another class",
    ),
    pytest.param(
        "AAAAAAAAAA",
        "xxxxx.....",
        "A missed",
        "x background_error",
        id="half of another class is neither",
    ),
    pytest.param(
        "AAAAAAAAAA",
        "aaaxxxxxxx",
        "A classification_error",
        "a localization_error x classification_error",
        id="the class comes first",
    ),
    pytest.param(
        "AAAAAAAAAA",
        "aaaaaaabbb",
        "A matched",
        "a matched b localization_error",
        id="a fragment of a matched one",
    ),
    pytest.param(
        "AAAAAAAA..", "aaaaaaaabb", "A matched", "a matched b ignored", id="a prediction on void"
    ),
    pytest.param(
        "########AA",
        "aaaaaaaabb",
        "# crowd A matched",
        "a ignored b matched",
        id="a prediction on a crowd",
    ),
    pytest.param("XXXXXXXXXX", "..........", "X missed", "", id="nothing predicted"),
]


def by_letter(segments):
    return " ".join(
        f"{chr(key)} {SegmentOutcome(outcome).name.lower()}"
        for key, outcome in zip(segments.id, segments.outcome, strict=True)
    )


@pytest.mark.parametrize(("target", "pred", "target_outcomes", "pred_outcomes"), OUTCOMES)
def test_each_segment_has_the_expected_outcome(target, pred, target_outcomes, pred_outcomes):
    matches = find_matches(strip(pred), strip(target), PETS, background=False)
    assert (by_letter(matches.target), by_letter(matches.pred)) == (target_outcomes, pred_outcomes)


def test_the_columns_are_those_of_the_segments():
    pred = Panoptic.from_ids(np.array([[7, 7, 7, 9, 9, 0]]), {7: 5, 9: 2}, scores={9: 0.25})
    target = Panoptic.from_ids(np.array([[4, 4, 4, 4, 0, 0]]), {4: 5})
    found = find_matches(pred, target, PETS, background=False)
    assert found.pred.id.tolist() == [7, 9]
    assert found.pred.index.tolist() == [0, 1]
    assert found.pred.area.tolist() == [3, 2]
    assert found.pred.score[1] == 0.25
    assert np.isnan(found.pred.score[0])
    assert (found.pred.iou.tolist(), found.pred.partner.tolist()) == ([0.75, 0], [4, 0])
    assert (
        found.target.iou.tolist(),
        found.target.partner.tolist(),
        found.target.area.tolist(),
    ) == ([0.75], [7], [4])


VOID_IN_UNION = [  # target, prediction, the cats' sum of IoU, tp, fp, fn
    pytest.param(
        "AAAA......", "aaaaaa....", 4 / 6, 1, 0, 0, id="target void stays in the union: 4 of 6"
    ),
    pytest.param(
        "AAA.......",
        "aaaaaa....",
        0.0,
        0,
        1,
        1,
        id="3 of 6 is no match, and 3/6 on void is not ignored",
    ),
    pytest.param(
        "XXXX......",
        "xxxxaaa...",
        0.0,
        0,
        0,
        0,
        id="a false positive all on void is ignored as well",
    ),
    pytest.param(
        "AAAAAAAAAA", "aaaaaa....", 0.6, 1, 0, 0, id="without target void nothing changes"
    ),
]


@pytest.mark.parametrize(("target", "pred", "sum_iou", "tp", "fp", "fn"), VOID_IN_UNION)
def test_void_in_the_union_costs_iou(target, pred, sum_iou, tp, fp, fn):
    counts = match_segments(strip(pred), strip(target), PETS, background=False, void_in_union=True)[
        PETS.index[CAT]
    ]
    assert counts.tolist()[:4] == [pytest.approx(sum_iou, abs=1e-15), tp, fp, fn]


def test_pq_losses_equal_those_counted_by_hand():
    # cats: A matched at 0.8, B badly localized by b (2/5), false positive c; C of exactly the
    # pixels of a dog x. 1 tp, 2 fp, 2 fn: 3 in all
    counts = match_segments(
        strip("AAAAABBBBBCCCCYYYYYY"), strip("AAAAABBBBBCCCCYYYYYY"), PETS, background=False
    )
    assert panoptic_scores(counts, PETS)["PQ"] == 1
    counts = match_segments(
        strip("aaaa.bb...xxxxcyyyyy"), strip("AAAAABBBBBCCCCYYYYYY"), PETS, background=False
    )
    cats, dogs = (dict(zip(LOSSES, row, strict=True)) for row in panoptic_losses(counts))
    assert cats == pytest.approx(
        {
            "missed": 0,
            "background": 0.5 / 3,
            "classification": 0.5 / 3,
            "localization": (0.2 + 1) / 3,
        }
    )
    # dogs: Y matched at 5/6, x of another class: 1.5 in all
    assert dogs == pytest.approx(
        {"missed": 0, "background": 0, "classification": 0.5 / 1.5, "localization": (1 / 6) / 1.5}
    )


flags = st.booleans()


@given(panoptic_pairs(), flags, flags)
def test_pq_and_what_it_loses_add_up_to_1(pair, background, void_in_union):
    counts = match_segments(*pair, CATEGORIES, background=background, void_in_union=void_in_union)
    pq = panoptic_per_class(counts)[:, 0]
    occurs = counts[:, 1:4].any(axis=1)
    assert np.array_equal(np.isnan(pq), ~occurs)
    np.testing.assert_allclose(
        (pq + panoptic_losses(counts).sum(axis=1))[occurs], 1, rtol=0, atol=1e-14
    )  # a few roundings
    scores = panoptic_scores(counts, CATEGORIES)
    if occurs.any():
        assert scores["PQ"] + sum(scores[f"PQ/lost/{name}"] for name in LOSSES) == pytest.approx(
            1, abs=1e-14
        )
        assert all(scores[f"PQ/lost/{name}"] >= 0 for name in LOSSES)


@given(panoptic_pairs(), flags, flags)
def test_partners_name_each_other_where_the_iou_is_above_one_half(pair, background, void_in_union):
    matches = find_matches(*pair, CATEGORIES, background=background, void_in_union=void_in_union)
    for one, other in ((matches.pred, matches.target), (matches.target, matches.pred)):
        back = dict(zip(other.id.tolist(), other.partner.tolist(), strict=True))
        for key, partner, iou in zip(
            one.id.tolist(), one.partner.tolist(), one.iou.tolist(), strict=True
        ):
            assert (partner == 0) == (iou == 0)
            assert iou <= 0.5 or back[partner] == key


@given(panoptic_pairs(), flags)
def test_void_in_the_union_never_raises_an_iou(pair, background):
    plain, with_void = (
        find_matches(*pair, CATEGORIES, background=background, void_in_union=flag)
        for flag in (False, True)
    )
    assert (count_matches(with_void, 4)[:, 1] <= count_matches(plain, 4)[:, 1]).all()


@given(panoptic_pairs(), flags)
def test_areas_and_ids_are_those_of_the_maps(pair, background):
    matches = find_matches(*pair, CATEGORIES, background=background)
    for segments, panoptic in ((matches.pred, pair[0]), (matches.target, pair[1])):
        assert segments.id.tolist() == [segment.id for segment in panoptic.segments]
        assert segments.area.tolist() == [segment.area for segment in panoptic.segments]
        assert segments.index.tolist() == [
            CATEGORIES.index[segment.category_id] for segment in panoptic.segments
        ]


def test_ids_without_a_class_are_void():
    shared = Overlaps(
        np.array([1, 9]), np.array([1]), np.array([0, 1]), np.array([0, 0]), np.array([6, 4])
    )
    matches = match_overlaps(shared, {1: 0}, {1: 0}, background=False)
    assert matches.target.id.tolist() == [1]
    assert matches.pred.iou.tolist() == [1]  # the four pixels on 9 leave the union


def test_two_classes_with_names_of_their_own_do_not_touch():
    table = Categories(
        [
            Category(1, "a", True, (1, 1, 1)),
            Category(2, "b", True, (2, 2, 2)),
            Category(3, "c", False, (3, 3, 3)),
        ]
    )
    ids = np.array([[1, 1, 2, 2]])
    same = Panoptic.from_ids(ids, {1: 1, 2: 2})
    assert match_segments(same, same, table, background=False)[:, 1].tolist() == [1, 1, 0]
