import hashlib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.sources.source import Sample
from maskmill.sources.splits import HashSplit, StratifiedSplit

names = st.lists(st.text(), unique=True, max_size=20)


@given(names, names)
def test_a_name_stays_in_its_split_whatever_stands_beside_it(first, second):
    deal = HashSplit({"train": 0.6, "val": 0.4})
    before = {name: deal.of(name) for name in first}
    again = {name: HashSplit({"train": 0.6, "val": 0.4}).of(name) for name in second + first}
    assert all(again[name] == split for name, split in before.items())


# printf 0:a | sha256sum begins with 9d = 157 of 256 = 0.61; train ends at 0.5, val at 0.75
GOLDEN = {
    "a": (0x9D, "val"),
    "b": (0xE0, "test"),
    "c": (0xBE, "val"),
    "d": (0x7D, "train"),
    "f": (0x49, "train"),
    "h": (0x17, "train"),
}


@pytest.mark.parametrize(
    ("name", "first_byte", "split"), [(name, *row) for name, row in GOLDEN.items()]
)
def test_the_hash_of_the_name_decides(name, first_byte, split):
    assert hashlib.sha256(f"0:{name}".encode()).digest()[0] == first_byte
    assert HashSplit({"train": 0.5, "val": 0.25, "test": 0.25}).of(name) == split


def test_shares_are_kept_on_average():
    counts = Counter(
        HashSplit({"train": 0.7, "val": 0.3}).of(str(number)) for number in range(10_000)
    )
    assert counts["train"] / 10_000 == pytest.approx(
        0.7, abs=0.015
    )  # three standard deviations: 3 * sqrt(.7 * .3 / 10000)


def test_another_seed_deals_anew():
    deals = [
        [HashSplit({"a": 0.5, "b": 0.5}, seed=seed).of(str(number)) for number in range(50)]
        for seed in (0, 1)
    ]
    assert deals[0] != deals[1]


@pytest.mark.parametrize(
    "shares", [{}, {"train": 0.5}, {"train": 1.5, "val": -0.5}, {"train": 1.0, "val": 0.0}]
)
def test_shares_that_do_not_sum_to_one_are_refused(shares):
    with pytest.raises(
        ValueError, match="Expected `splits` as positive shares that sum to 1, but got"
    ):
        HashSplit(shares)


def named(*names):
    return [Sample("", name, Path(name), Path(name)) for name in names]


def dealt(split, samples, classes=None):
    return {
        sample.name: sample.split
        for sample in split.deal(samples, lambda sample: (classes or {})[sample.name])
    }


def test_names_of_one_group_stay_together():
    names = [f"video{video}_frame{frame}" for video in range(30) for frame in range(5)]
    splits = dealt(HashSplit({"train": 0.6, "val": 0.4}, group=r"^(video\d+)_"), named(*names))
    for video in range(30):
        assert len({splits[f"video{video}_frame{frame}"] for frame in range(5)}) == 1
    assert set(splits.values()) == {"train", "val"}


def test_a_name_without_the_pattern_and_a_broken_pattern_are_refused():
    with pytest.raises(ValueError, match="x: expected a name with the pattern"):
        dealt(HashSplit({"train": 1.0}, group="video"), named("x"))
    with pytest.raises(ValueError, match="Expected `group` as a regular expression"):
        HashSplit({"train": 1.0}, group="(")


@given(
    st.lists(st.sets(st.integers(0, 7), min_size=1, max_size=3), min_size=3, max_size=40),
    st.integers(0, 3),
)
def test_a_stratified_split_leaves_no_split_empty_and_trains_on_common_classes(classes, seed):
    names = [str(place) for place in range(len(classes))]
    shares = {"train": 0.7, "val": 0.15, "test": 0.15}
    splits = dealt(
        StratifiedSplit(shares, seed=seed), named(*names), dict(zip(names, classes, strict=True))
    )
    assert set(splits.values()) == set(shares)
    counts = Counter(value for found in classes for value in found)
    trained = set().union(
        *(found for name, found in zip(names, classes, strict=True) if splits[name] == "train")
    )
    assert {value for value, count in counts.items() if count > len(shares)} <= trained


def test_a_stratified_split_keeps_the_shares_of_every_class():
    names = [str(place) for place in range(200)]
    classes = {
        name: {0} | ({1} if place % 10 == 0 else set()) | ({2} if place % 50 == 0 else set())
        for place, name in enumerate(names)
    }
    splits = dealt(
        StratifiedSplit({"train": 0.5, "val": 0.25, "test": 0.25}), named(*names), classes
    )
    for value, wanted in ((0, (100, 50, 50)), (1, (10, 5, 5)), (2, (2, 1, 1))):
        counts = Counter(splits[name] for name, found in classes.items() if value in found)
        assert (counts["train"], counts["val"], counts["test"]) == wanted


def test_a_stratified_split_deals_groups_whole():
    names = [f"{patient}_{slice_}" for patient in "abcdef" for slice_ in range(4)]
    classes = {name: {0} | ({1} if name[0] in "ab" else set()) for name in names}
    splits = dealt(
        StratifiedSplit({"train": 0.5, "val": 0.5}, group="^[a-z]"), named(*names), classes
    )
    assert all(
        len({splits[f"{patient}_{slice_}"] for slice_ in range(4)}) == 1 for patient in "abcdef"
    )
    assert {splits["a_0"], splits["b_0"]} == {"train", "val"}
