"""Hydra's overrides of a sweep as Optuna's distributions."""

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from maskmill.assembly.conf_search_path import packaged_conf
from maskmill.assembly.search_space import parse_space


@pytest.fixture(scope="module")
def loader():
    with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


@pytest.mark.parametrize(
    ("override", "distribution"),
    [
        ("optimizer.lr=interval(0,1)", FloatDistribution(0, 1)),  # Hydra's intervals are continuous
        ("optimizer.lr=tag(log,interval(1e-4,1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
        ("data.batch_size=int(interval(2,8))", IntDistribution(2, 8)),
        ("data.batch_size=tag(log,int(interval(2,64)))", IntDistribution(2, 64, log=True)),
        ("data.batch_size=range(2,9,2)", IntDistribution(2, 8, step=2)),  # ends before its stop
        ("data.batch_size=range(8,2,-2)", IntDistribution(4, 8, step=2)),
        ("loss.weight=range(0.1,0.5,0.1)", FloatDistribution(0.1, 0.4, step=0.1)),
        ("optimizer.lr=1e-3,3e-4", CategoricalDistribution([0.001, 0.0003])),
        ("network=unet,fpn", CategoricalDistribution(["unet", "fpn"])),
        ("optimizer.fused=choice(true,false)", CategoricalDistribution([True, False])),
        ("data.crop_size=[96,160],[64,64]", CategoricalDistribution(["[96,160]", "[64,64]"])),
        ("train.once=null,true", CategoricalDistribution(["null", True])),
        ("optimizer=glob(*)", CategoricalDistribution(["adamw", "sgd"])),
        ("+new.key='a b',c", CategoricalDistribution(["'a b'", "c"])),
    ],
)
def test_a_sweep_becomes_a_distribution(loader, override, distribution):
    space = parse_space([override], loader)
    assert space.distributions == {override.partition("=")[0]: distribution}


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("optimizer.lr=tag(log,interval(0,1))", "LOW > 0"),
        ("optimizer.lr=interval(1,0)", "interval(LOW,HIGH)"),
        ("data.batch_size=range(3,3)", "an empty range"),
        ("optimizer.lr=tag(log,range(0.1,0.5,0.1))", "a logarithmic range with a step"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(loader, override, reason):
    with pytest.raises(ValueError, match="expected a space that Optuna can search") as error:
        parse_space([override], loader)
    assert str(error.value).startswith(override)
    assert reason in str(error.value)


def test_a_search_varies_something(loader):
    with pytest.raises(ValueError, match="expected at least one value to vary"):
        parse_space(["seed=1"], loader)


def test_the_line_replaces_the_space_of_the_configuration(loader):
    space = parse_space(["optimizer.lr=1e-3,3e-4", "seed=1,2", "optimizer.lr=0.1"], loader)
    assert list(space.distributions) == ["seed"]
    assert space.overrides({"seed": 2}) == ["optimizer.lr=0.1", "seed=2"]


def test_values_of_an_interval_have_four_digits(loader):
    space = parse_space(["optimizer.lr=interval(0,1)", "data.batch_size=range(2,9)"], loader)
    given = {"optimizer.lr": 0.123456, "data.batch_size": 7}
    assert space.overrides(given) == ["optimizer.lr=0.1235", "data.batch_size=7"]


def test_a_grid_counts_its_settings(loader):
    discrete = ["network=unet,fpn", "data.batch_size=range(2,9,2)", "optimizer.lr=range(1,1.5,0.1)"]
    assert parse_space(discrete, loader).num_combinations == 2 * 4 * 5
    assert parse_space([*discrete, "seed=interval(0,1)"], loader).num_combinations is None


def test_the_examples_hold_every_choice(loader):
    space = parse_space(["network=unet,fpn,pan", "optimizer=adamw,sgd"], loader)
    assert space.examples() == [
        ["network=unet", "optimizer=adamw"],
        ["network=fpn", "optimizer=sgd"],
        ["network=pan", "optimizer=adamw"],
    ]
