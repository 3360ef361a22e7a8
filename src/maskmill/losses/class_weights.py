"""Weights of classes from how often they occur, as dataset.json of the prepared data set counts them.

Each function gives one weight per output of the network, in the order of the category table, for the `class_weights` of a loss.
A class without a pixel in the training split weighs 1.
"""

import math
from pathlib import Path
from typing import Any

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import read_json


def equal() -> None:
    """No weights: every pixel counts alike."""


def inverse_frequency(dataset: Path) -> list[float]:
    """One over the pixels of the class, scaled to a mean of 1.

    Args:
        dataset: the folder `prepare` wrote.

    Raises:
        FileNotFoundError: there is no prepared data set.
        ValueError: it has no statistics.
    """
    return _scaled([1 / count if count else None for count in _pixels(dataset)])


def effective_number(dataset: Path, beta: float) -> list[float]:
    """One over (1 - beta ** n) / (1 - beta), n the pixels of the class, scaled to a mean of 1 (Cui et al., CVPR 2019, arXiv:1901.05555).

    Args:
        dataset: the folder `prepare` wrote.
        beta: 0 weighs all classes alike, near 1 it is the inverse frequency; pixels beyond about 1 / (1 - beta) add nothing new.

    Raises:
        FileNotFoundError: there is no prepared data set.
        ValueError: `beta` is not in [0, 1), or the data set has no statistics.
    """
    if not 0 <= beta < 1:
        raise ValueError(f"Expected `beta` in [0, 1), but got {beta} - mend conf/class_weights")
    rate = math.log(beta) if beta else -math.inf
    return _scaled([-1 / math.expm1(count * rate) if count else None for count in _pixels(dataset)])


def median_frequency(dataset: Path) -> list[float]:
    """The median of the classes' frequencies over the class's own, as dataset.json has it (Eigen and Fergus, ICCV 2015, sec. 6.3.2).

    Args:
        dataset: the folder `prepare` wrote.

    Raises:
        FileNotFoundError: there is no prepared data set.
        ValueError: it has no statistics, or no stuff: the background of things has no frequency of its own there.
    """
    statistics, categories = _statistics(dataset)
    if categories.background_index is not None:
        raise ValueError(
            f"{dataset}: expected a data set with stuff, but it has things on a background - use class_weights=inverse_frequency"
        )
    return [1.0 if row["weight"] is None else float(row["weight"]) for row in statistics["classes"]]


def _pixels(dataset: Path) -> list[int]:
    """Training pixels of each output; those of the background are the unlabelled ones."""
    statistics, categories = _statistics(dataset)
    background = [] if categories.background_index is None else [int(statistics["void_pixels"])]
    return [int(row["pixels"]) for row in statistics["classes"]] + background


def _statistics(dataset: Path) -> tuple[dict[str, Any], Categories]:
    path = dataset / "dataset.json"
    content = read_json(path)
    try:
        return content["statistics"]["train"], Categories.from_list(content["categories"])
    except KeyError as error:
        raise ValueError(
            f"{path}: expected statistics of the training split, but {error} is missing - prepare the data again"
        ) from error


def _scaled(weights: list[float | None]) -> list[float]:
    """Scaled to a mean of 1 over the classes that occur; 1 for the others."""
    known = [weight for weight in weights if weight is not None]
    mean = sum(known) / max(len(known), 1)
    return [1.0 if weight is None else weight / mean for weight in weights]
