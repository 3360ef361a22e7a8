"""What a search varies: Hydra's overrides of a sweep as Optuna's distributions."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Transformer
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

LOG = "log"  # the tag of values that are searched by their logarithm


@dataclass(frozen=True)
class SearchSpace:
    """The overrides of a search.

    Args:
        distributions: key of an override, as `optimizer.lr`, to the values it may take.
        fixed: the overrides that all trials share.
    """

    distributions: dict[str, BaseDistribution]
    fixed: list[str]

    @property
    def num_combinations(self) -> int | None:
        """How many settings there are; None if a value is continuous."""
        counts = [num_values(item) for item in self.distributions.values()]
        return None if None in counts else math.prod(filter(None, counts))

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """All overrides of the trial with these values."""
        return [*self.fixed, *self.own(params)]

    def own(self, params: Mapping[str, Any]) -> list[str]:
        """The overrides of its own of a trial; values of an interval have four digits."""
        own = []
        for key, value in params.items():
            distribution = self.distributions[key]
            is_continuous = num_values(distribution) is None
            own.append(f"{key}={value:.4g}" if is_continuous else f"{key}={value}")
        return own

    def examples(self) -> list[list[str]]:
        """Overrides of a few trials in which each choice occurs, to check that they compose."""
        values = {key: _values(item) for key, item in self.distributions.items()}
        longest = max(map(len, values.values()))
        trials = []
        for index in range(longest):
            params = {key: choices[index % len(choices)] for key, choices in values.items()}
            trials.append(self.overrides(params))
        return trials


def parse_space(arguments: Iterable[str], loader: ConfigLoader) -> SearchSpace:
    """Read overrides of the line and of `hydra.sweeper.params`; the last one of a key counts.

    Args:
        arguments: as `optimizer.lr=tag(log,interval(1e-4,1e-2))`, `network=unet,fpn` or `seed=1`.
        loader: lists the choices of a group, for `network=glob(*)`.

    Raises:
        ValueError: nothing is to be varied, or Optuna cannot vary a value so.
        HydraException: an argument is no override.
    """
    overrides: dict[str, Override] = {}
    for override in OverridesParser.create(config_loader=loader).parse_overrides(list(arguments)):
        overrides[override.get_key_element().lstrip("+~")] = override
    distributions = {}
    fixed = []
    for override in overrides.values():
        if override.is_sweep_override():
            distributions[override.get_key_element()] = _distribution(override)
        else:
            fixed.append(override.input_line)
    if not distributions:
        raise ValueError(
            "hydra/sweeper=optuna: expected at least one value to vary, but got none - write for "
            "example 'optimizer.lr=tag(log,interval(1e-4,1e-2))' or network=unet,fpn"
        )
    return SearchSpace(distributions, fixed)


def num_values(distribution: BaseDistribution) -> int | None:
    """How many values a distribution has; None if it is continuous."""
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    if distribution.step is None:
        return None
    return round((distribution.high - distribution.low) / distribution.step) + 1


def _values(distribution: BaseDistribution) -> list[Any]:
    """All choices, or one number."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return [distribution.low]


def _distribution(override: Override) -> BaseDistribution:
    sweep = override.value()
    is_log = LOG in getattr(sweep, "tags", ())
    try:
        if isinstance(sweep, IntervalSweep):
            kind = IntDistribution if isinstance(sweep.start, int) else FloatDistribution
            return kind(sweep.start, sweep.end, log=is_log)
        if isinstance(sweep, RangeSweep):
            return _range_distribution(list(sweep.range()), is_log)
        return CategoricalDistribution([_choice(item) for item in override.sweep_iterator()])
    except ValueError as error:
        raise ValueError(
            f"{override.input_line}: expected a space that Optuna can search, but got: {error} - "
            "write A,B or choice(A,B), interval(LOW,HIGH), int(interval(LOW,HIGH)), "
            "range(START,STOP,STEP), or tag(log,interval(LOW,HIGH)) with LOW > 0"
        ) from error


def _range_distribution(values: list[Any], is_log: bool) -> BaseDistribution:
    """Hydra's range ends before its stop."""
    if not values:
        raise ValueError("an empty range")
    low, high = min(values), max(values)
    step = abs(values[1] - values[0]) if len(values) > 1 else 1
    if all(isinstance(value, int) for value in values):
        return IntDistribution(low, high, log=is_log, step=step)
    if is_log:
        raise ValueError("a logarithmic range with a step")
    return FloatDistribution(low, high, step=round(step, 12))


def _choice(value: Any) -> int | float | str:
    """A number, or the text that an override has for it."""
    return value if isinstance(value, int | float) else str(Transformer.str(value))
