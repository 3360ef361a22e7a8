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


def test_a_split_without_training_images_is_refused():
    with pytest.raises(ValueError, match=r"at least one training image.*check the splits"):
        ShuffledSampler(0, seed=0)
