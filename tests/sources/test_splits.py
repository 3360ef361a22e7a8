import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.sources.splits import HashSplit

names = st.lists(st.text(), unique=True, max_size=20)


@given(names, names)
def test_a_name_stays_in_its_split_whatever_stands_beside_it(first, second):
    deal = HashSplit({"train": 0.6, "val": 0.4})
    before = {name: deal.of(name) for name in first}
    again = {name: HashSplit({"train": 0.6, "val": 0.4}).of(name) for name in second + first}
    assert all(again[name] == split for name, split in before.items())


# printf 0:a | sha256sum begins with 9d = 157 of 256 = 0.61; train ends at 0.5, val at 0.75
GOLDEN = {"a": (0x9D, "val"), "b": (0xE0, "test"), "c": (0xBE, "val"), "d": (0x7D, "train"), "f": (0x49, "train"), "h": (0x17, "train")}


@pytest.mark.parametrize(("name", "first_byte", "split"), [(name, *row) for name, row in GOLDEN.items()])
def test_the_hash_of_the_name_decides(name, first_byte, split):
    assert hashlib.sha256(f"0:{name}".encode()).digest()[0] == first_byte
    assert HashSplit({"train": 0.5, "val": 0.25, "test": 0.25}).of(name) == split


def test_shares_are_kept_on_average():
    counts = Counter(HashSplit({"train": 0.7, "val": 0.3}).of(str(number)) for number in range(10_000))
    assert counts["train"] / 10_000 == pytest.approx(0.7, abs=0.015)  # three standard deviations: 3 * sqrt(.7 * .3 / 10000)


def test_another_seed_deals_anew():
    deals = [[HashSplit({"a": 0.5, "b": 0.5}, seed=seed).of(str(number)) for number in range(50)] for seed in (0, 1)]
    assert deals[0] != deals[1]


@pytest.mark.parametrize("shares", [{}, {"train": 0.5}, {"train": 1.5, "val": -0.5}, {"train": 1.0, "val": 0.0}])
def test_shares_that_do_not_sum_to_one_are_refused(shares):
    with pytest.raises(ValueError, match="Expected `splits` as positive shares that sum to 1, but got"):
        HashSplit(shares)
