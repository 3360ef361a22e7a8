"""Axes for the values of a sweep: numbers, powers of ten or names."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from maskmill.reporting.svg import Axis, Tick, have_room

MARGIN = 0.06  # of the axis, on either side
DECADE = 10.0  # positive numbers that span one are spaced by their logarithm
MAX_VALUES = 6  # of an axis that labels each of its values
NUM_TICKS = (5, 3)  # of other numbers: as many as have room
MAX_LABEL = 13  # characters: three names fit below a chart


@dataclass(frozen=True)
class Scale:
    """Where the values of one parameter or score lie on an axis.

    Args:
        name: of the axis.
        position: text of a value -> fraction of the axis.
        ticks: labels of the axis.
    """

    name: str
    position: dict[str, float]
    ticks: Sequence[Tick]

    def axis(self) -> Axis:
        """The axis of a chart."""
        return Axis(self.name, self.ticks)


def scale_of(name: str, texts: Sequence[str], *, linear: bool = False) -> Scale:
    """The axis of some values; they are numbers if all of them can be read as finite ones.

    Args:
        name: of the axis.
        texts: the values, of any number of jobs.
        linear: never space numbers by their logarithm.

    Example:
        >>> scale_of("lr", ["0.01", "0.1", "1"]).position["0.1"]
        0.5
        >>> scale_of("network", ["unet", "fpn"]).ticks
        [(0.06, 'unet'), (0.94, 'fpn')]
    """
    distinct = list(dict.fromkeys(texts))
    numbers = _numbers(distinct)
    if numbers is None:
        places = _spread(list(range(len(distinct))))
        return Scale(name, dict(zip(distinct, places, strict=True)), _labels(distinct, places))
    spans_decade = min(numbers) > 0 and max(numbers) >= DECADE * min(numbers)
    is_logarithmic = spans_decade and not linear
    values = [math.log10(number) for number in numbers] if is_logarithmic else numbers
    places = _spread(values)
    position = dict(zip(distinct, places, strict=True))
    own = _labels([f"{number:g}" for number in numbers], places)
    if len(distinct) <= MAX_VALUES and have_room(own):
        return Scale(name, position, own)
    for num_ticks in NUM_TICKS:
        ticks = _even_ticks(values, num_ticks, is_logarithmic=is_logarithmic)
        if have_room(ticks):
            break
    return Scale(name, position, ticks)


def _even_ticks(values: Sequence[float], number: int, *, is_logarithmic: bool) -> list[Tick]:
    low, high = min(values), max(values)
    steps = [low + (high - low) * index / (number - 1) for index in range(number)]
    if all(map(float.is_integer, values)):  # as epochs and widths
        steps = list(map(float, map(round, steps)))
    labels = [f"{10**step if is_logarithmic else step:.3g}" for step in steps]
    return _labels(labels, _spread(steps))


def _numbers(texts: Sequence[str]) -> list[float] | None:
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _spread(values: Sequence[float]) -> list[float]:
    """Fractions of the axis; a single value lies in its middle."""
    low, high = min(values), max(values)
    if low == high:
        return [0.5] * len(values)
    return [MARGIN + (1 - 2 * MARGIN) * (value - low) / (high - low) for value in values]


def _labels(texts: Sequence[str], places: Sequence[float]) -> list[Tick]:
    ticks = []
    for place, text in zip(places, texts, strict=True):
        short = (
            text if len(text) <= MAX_LABEL else f"{text[: MAX_LABEL - 1]}\N{HORIZONTAL ELLIPSIS}"
        )
        ticks.append((place, short))
    return ticks
