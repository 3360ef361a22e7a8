import hashlib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.sources.source import Sample
from maskmill.sources.splits import HashSplit, StratifiedSplit

names = st.lists(st.text(), unique=True, max_size=20)


def named(*names):
    return [Sample("", name, Path(name), Path(name)) for name in names]


def splits_of(rule, samples, classes=None):
    """Name -> split; `classes` is name -> category ids."""
    assigned = rule.assign(samples, lambda sample: (classes or {})[sample.name])
    return {sample.name: sample.split for sample in assigned}


@given(names, names)
def test_a_name_stays_in_its_split_whatever_other_names_there_are(first, second):
    rule = HashSplit({"train": 0.6, "val": 0.4})
    alone = splits_of(rule, named(*first))
    together = splits_of(rule, named(*second, *first))
    for name, split in alone.items():
        assert together[name] == split


# printf 0:a | sha256sum begins with 9d = 157 of 256 = 0.61; train ends at 0.5, val at 0.75
GOLDEN = [
    ("a", 0x9D, "val"),
    ("b", 0xE0, "test"),
    ("c", 0xBE, "val"),
    ("d", 0x7D, "train"),
    ("f", 0x49, "train"),
    ("h", 0x17, "train"),
]


@pytest.mark.parametrize(("name", "first_byte", "split"), GOLDEN)
def test_the_hash_of_the_name_decides(name, first_byte, split):
    assert hashlib.sha256(f"0:{name}".encode()).digest()[0] == first_byte
    assert HashSplit({"train": 0.5, "val": 0.25, "test": 0.25}).split_name(name) == split


def test_shares_are_kept_on_average():
    rule = HashSplit({"train": 0.7, "val": 0.3})
    splits = [rule.split_name(str(index)) for index in range(10_000)]
    three_stds = 0.015  # 3 * sqrt(0.7 * 0.3 / 10000) = 0.0137
    assert splits.count("train") / 10_000 == pytest.approx(0.7, abs=three_stds)


def test_another_seed_gives_another_assignment():
    samples = named(*map(str, range(50)))
    shares = {"a": 0.5, "b": 0.5}
    first = splits_of(HashSplit(shares, seed=0), samples)
    second = splits_of(HashSplit(shares, seed=1), samples)
    assert first != second


@pytest.mark.parametrize(
    "shares", [{}, {"train": 0.5}, {"train": 1.5, "val": -0.5}, {"train": 1.0, "val": 0.0}]
)
def test_shares_that_do_not_sum_to_one_are_refused(shares):
    message = "Expected `splits` as positive shares that sum to 1, but got"
    with pytest.raises(ValueError, match=message):
        HashSplit(shares)


def test_names_of_one_group_stay_together():
    frames_of = {}
    for video in range(30):
        frames_of[video] = [f"video{video}_frame{frame}" for frame in range(5)]
    samples = named(*(name for frames in frames_of.values() for name in frames))
    rule = HashSplit({"train": 0.6, "val": 0.4}, group=r"^(video\d+)_")
    splits = splits_of(rule, samples)
    for frames in frames_of.values():
        assert len({splits[name] for name in frames}) == 1
    assert set(splits.values()) == {"train", "val"}


def test_a_name_that_does_not_match_the_group_is_refused():
    rule = HashSplit({"train": 1.0}, group="video")
    with pytest.raises(ValueError, match="x: expected a name that matches 'video', but got 'x'"):
        splits_of(rule, named("x"))


def test_an_invalid_pattern_is_refused():
    with pytest.raises(ValueError, match="Expected `group` as a regular expression"):
        HashSplit({"train": 1.0}, group="(")


@given(
    st.lists(st.sets(st.integers(0, 7), min_size=1, max_size=3), min_size=3, max_size=40),
    st.integers(0, 3),
)
def test_a_stratified_split_fills_every_split_and_trains_on_common_classes(classes, seed):
    classes_of = {str(index): class_ids for index, class_ids in enumerate(classes)}
    shares = {"train": 0.7, "val": 0.15, "test": 0.15}
    splits = splits_of(StratifiedSplit(shares, seed=seed), named(*classes_of), classes_of)
    assert set(splits.values()) == set(shares)
    num_images = Counter()
    trained = set()
    for name, class_ids in classes_of.items():
        num_images.update(class_ids)
        if splits[name] == "train":
            trained |= class_ids
    for class_id, count in num_images.items():
        assert count <= len(shares) or class_id in trained


def test_a_stratified_split_keeps_the_shares_of_every_class():
    classes_of = {str(index): {0} for index in range(200)}
    for index in range(0, 200, 10):
        classes_of[str(index)].add(1)
    for index in range(0, 200, 50):
        classes_of[str(index)].add(2)
    rule = StratifiedSplit({"train": 0.5, "val": 0.25, "test": 0.25})
    splits = splits_of(rule, named(*classes_of), classes_of)
    num_images = {0: Counter(), 1: Counter(), 2: Counter()}
    for name, class_ids in classes_of.items():
        for class_id in class_ids:
            num_images[class_id][splits[name]] += 1
    assert num_images[0] == {"train": 100, "val": 50, "test": 50}
    assert num_images[1] == {"train": 10, "val": 5, "test": 5}
    assert num_images[2] == {"train": 2, "val": 1, "test": 1}


def test_a_stratified_split_does_not_divide_groups():
    classes_of = {}
    for patient in "abcdef":
        for index in range(4):
            classes_of[f"{patient}_{index}"] = {0, 1} if patient in "ab" else {0}
    rule = StratifiedSplit({"train": 0.5, "val": 0.5}, group="^[a-z]")
    splits = splits_of(rule, named(*classes_of), classes_of)
    for patient in "abcdef":
        assert len({splits[f"{patient}_{index}"] for index in range(4)}) == 1
    assert {splits["a_0"], splits["b_0"]} == {"train", "val"}
