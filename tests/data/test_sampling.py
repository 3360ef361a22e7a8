from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.data.sampling import EvaluationSampler, ShuffledSampler

sizes = st.integers(1, 40)
worlds = st.integers(1, 5)


@given(sizes, worlds)
def test_every_image_is_evaluated_exactly_once_over_all_processes(num_samples, world_size):
    draws = []
    lengths = set()
    for rank in range(world_size):
        drawn = list(EvaluationSampler(num_samples, rank=rank, world_size=world_size))
        lengths.add(len(drawn))
        draws += drawn
    counted = Counter(draw.sample for draw in draws if draw.valid)
    assert counted == Counter(range(num_samples))
    assert len(lengths) == 1  # a process that ends early would leave the others waiting


@given(sizes, worlds, st.integers(0, 9))
def test_training_draws_every_image_and_all_processes_take_the_same_number_of_steps(
    num_samples, world_size, epoch
):
    draws = []
    lengths = set()
    for rank in range(world_size):
        sampler = ShuffledSampler(num_samples, seed=3, rank=rank, world_size=world_size)
        sampler.set_epoch(epoch)
        drawn = list(sampler)
        assert len(drawn) == len(sampler)
        lengths.add(len(drawn))
        draws += drawn
    assert {draw.sample for draw in draws} == set(range(num_samples))
    assert {draw.epoch for draw in draws} == {epoch}
    assert len(lengths) == 1


def test_the_order_depends_only_on_seed_and_epoch():
    def order(seed, epoch):
        sampler = ShuffledSampler(30, seed=seed)
        sampler.set_epoch(epoch)
        return [draw.sample for draw in sampler]

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_a_sample_occurs_in_proportion_to_its_weight_rounded_up_or_down():
    weights = [1, 1, 1, 5, 8]
    counts = Counter()
    for epoch in range(400):
        sampler = ShuffledSampler(5, seed=0, weights=weights)
        sampler.set_epoch(epoch)
        drawn = Counter(draw.sample for draw in sampler)
        assert drawn.total() == 5
        for sample, weight in enumerate(weights):
            expected = 5 * weight / 16
            assert int(expected) <= drawn[sample] <= int(expected) + 1
        counts += drawn
    # 5 x 400 draws; the rounding has a standard deviation of at most half a draw an epoch
    for sample, weight in enumerate(weights):
        assert counts[sample] == pytest.approx(2000 * weight / 16, abs=4 * 0.5 * 400**0.5)


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=20), worlds)
def test_weighted_draws_of_all_processes_are_different_repeats(weights, world_size):
    num_samples = len(weights)
    draws = []
    for rank in range(world_size):
        sampler = ShuffledSampler(
            num_samples, seed=1, weights=weights, rank=rank, world_size=world_size
        )
        assert len(drawn := list(sampler)) == len(sampler)
        draws += drawn
    assert len(set(draws)) == num_samples  # what the last processes repeat is an equal draw
    repeats = Counter(draw.sample for draw in set(draws))
    for draw in draws:
        assert draw.repeat < repeats[draw.sample]


def test_equal_weights_draw_every_sample_once():
    sampler = ShuffledSampler(30, seed=2, weights=[3.0] * 30)
    assert sorted(draw.sample for draw in sampler) == list(range(30))


def test_a_resumed_weighted_epoch_continues_where_it_stopped():
    sampler = ShuffledSampler(30, seed=2, weights=range(1, 31))
    whole = list(sampler)
    sampler.skip(11)
    assert list(sampler) == whole[11:]


def test_a_split_without_training_images_is_refused():
    with pytest.raises(ValueError, match=r"at least one training image.*check the splits"):
        ShuffledSampler(0, seed=0)
