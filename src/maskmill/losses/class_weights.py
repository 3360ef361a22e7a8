"""Class weights computed from the class frequencies in dataset.json of the prepared data set.

Each function returns one weight per output of the network, in the order of the category table, for
the `class_weights` of a loss. A class without a pixel in the training split has the weight 1.
"""

import math
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval

from maskmill.canonical.categories import Categories
from maskmill.canonical.dataset_file import read_dataset_file


def equal() -> None:
    """No weights: all pixels count equally."""


def inverse_frequency(dataset: Path) -> list[float]:
    """The inverse of each class's number of pixels, scaled to a mean of 1.

    Args:
        dataset: the folder that `prepare` wrote.

    Raises:
        FileNotFoundError: there is no prepared data set.
        ValueError: dataset.json contains no statistics.
    """
    return _scaled([1 / count if count else None for count in _pixels(dataset)])


def effective_number(dataset: Path, beta: Annotated[float, Interval(ge=0, lt=1)]) -> list[float]:
    """The inverse of each class's effective number of pixels, scaled to a mean of 1.

    The effective number of n pixels is (1 - beta ** n) / (1 - beta).
    Cui et al., CVPR 2019 (arXiv:1901.05555), eq. 2.

    Args:
        dataset: the folder that `prepare` wrote.
        beta: 0 gives all classes the same weight, a value near 1 the inverse frequency; more than
            about 1 / (1 - beta) pixels of a class no longer lower its weight.

    Raises:
        FileNotFoundError: there is no prepared data set.
        ValueError: dataset.json contains no statistics.
    """
    rate = math.log(beta) if beta else -math.inf
    return _scaled([-1 / math.expm1(count * rate) if count else None for count in _pixels(dataset)])


def median_frequency(
    dataset: Path, power: Annotated[float, Interval(ge=0, le=1)] = 1.0
) -> list[float]:
    """The median of the class frequencies divided by each class's frequency, to a power.

    dataset.json contains these weights. Eigen and Fergus, ICCV 2015, sec. 6.3.2. Weights w move the
    logits of a network by log w, in favour of rare classes: more of their pixels are found, but
    their masks grow beyond the objects. A power of 0.5 halves the move (as logit adjustment does,
    Menon et al., ICLR 2021, arXiv:2007.07314).

    Args:
        dataset: the folder that `prepare` wrote.
        power: of the weights; 0 gives all classes the weight 1.

    Raises:
        FileNotFoundError: there is no prepared data set.
        ValueError: dataset.json contains no statistics; or the data set has no stuff, since
            dataset.json has no frequency of the background.
    """
    statistics, categories = _statistics(dataset)
    if categories.background_index is not None:
        raise ValueError(
            f"{dataset}: expected a data set with stuff, but it has only things on a background - "
            "use class_weights=inverse_frequency"
        )
    weights = [row["weight"] for row in statistics["classes"]]
    return [1.0 if weight is None else float(weight) ** power for weight in weights]


def _pixels(dataset: Path) -> list[int]:
    """The number of training pixels of each output; unlabelled ones are those of the background."""
    statistics, categories = _statistics(dataset)
    pixels = [int(row["pixels"]) for row in statistics["classes"]]
    if categories.background_index is not None:
        pixels.append(int(statistics["void_pixels"]))
    return pixels


def _statistics(dataset: Path) -> tuple[dict[str, Any], Categories]:
    path = dataset / "dataset.json"
    content = read_dataset_file(path, required=("categories", "statistics"))
    statistics = content["statistics"].get("train")
    if statistics is None:
        raise ValueError(
            f"{path}: expected statistics of the training split, but there are none - "
            "prepare the data again"
        )
    return statistics, Categories.from_list(content["categories"], path)


def _scaled(weights: list[float | None]) -> list[float]:
    """Weights scaled to a mean of 1 over the classes that occur, and 1 for the others."""
    known = [weight for weight in weights if weight is not None]
    mean = sum(known) / max(len(known), 1)
    return [1.0 if weight is None else weight / mean for weight in weights]
