from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.data.sampling import EvaluationSampler, ShuffledSampler

sizes = st.integers(1, 40)
worlds = st.integers(1, 5)


@given(sizes, worlds)
def test_every_image_is_evaluated_exactly_once_over_all_processes(num_samples, world_size):
    ranks = [
        list(EvaluationSampler(num_samples, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert Counter(draw.sample for rank in ranks for draw in rank if draw.valid) == Counter(
        range(num_samples)
    )
    assert (
        len({len(rank) for rank in ranks}) == 1
    )  # in step: a process that ends early would leave the others waiting


@given(sizes, worlds, st.integers(0, 9))
def test_training_draws_every_image_and_all_processes_take_equally_many_steps(
    num_samples, world_size, epoch
):
    ranks = []
    for rank in range(world_size):
        sampler = ShuffledSampler(num_samples, seed=3, rank=rank, world_size=world_size)
        sampler.set_epoch(epoch)
        ranks.append(list(sampler))
        assert len(ranks[-1]) == len(sampler)
    assert {draw.sample for rank in ranks for draw in rank} == set(range(num_samples))
    assert {draw.epoch for rank in ranks for draw in rank} == {epoch}
    assert len({len(rank) for rank in ranks}) == 1


def test_the_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        sampler = ShuffledSampler(30, seed=seed)
        sampler.set_epoch(epoch)
        return [draw.sample for draw in sampler]

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_no_training_images_is_an_error_with_the_mend():
    with pytest.raises(ValueError, match=r"at least one training image.*check the splits"):
        ShuffledSampler(0, seed=0)
