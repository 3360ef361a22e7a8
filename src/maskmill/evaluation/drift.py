"""Do images and predictions still look like those of the reference? A test for each feature.

Numbers are compared by the two-sample Kolmogorov-Smirnov test and kinds by the chi-squared test.
Benjamini and Hochberg's procedure (J. R. Stat. Soc. B 57, 1995) limits the false discoveries among
all features. A drift must also be large, because with many images any difference is significant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np
import numpy.typing as npt
from scipy import stats

from maskmill.canonical.categories import Categories
from maskmill.evaluation.observation import NUM_BINS, Observation, class_bins

Floats = npt.NDArray[np.float64]
Kinds = npt.NDArray[np.str_]

MIN_IMAGES = 10  # on either side; fewer cannot tell a drift from chance
FALSE_DISCOVERIES = 0.01  # expected share among the reported drifts
MIN_EFFECT = 0.2  # distance by Kolmogorov and Smirnov, or Cramer's V
MIN_ALIKE = 0.1  # p-value from which training images count as validation images
OF_CONFIDENCE = ("confidence", "uncertain pixels")
MIN_EXPECTED = 5  # images of a kind; rarer kinds are counted together (Cochran 1954)
UNCERTAIN = 0.5  # confidence of a pixel
MIDDLES = (np.arange(NUM_BINS) + 0.5) / NUM_BINS  # of the bins of confidence


@dataclass(frozen=True)
class Features:
    """A value of each image, by name of the feature.

    Args:
        numbers: name -> (N,), NaN where an image has none.
        kinds: name -> (N,) texts.
    """

    numbers: dict[str, Floats]
    kinds: dict[str, Kinds]


@dataclass(frozen=True)
class Drift:
    """The comparison of one feature.

    Args:
        feature: its name.
        test: "KS" or "chi2".
        effect: distance of the distributions or Cramer's V, both 0..1.
        p_value: adjusted for the number of features.
        is_drift: significant and large.
        reference: 5th, 50th and 95th percentile, or the most frequent kind.
        current: the same of the observed images.
    """

    feature: str
    test: str
    effect: float
    p_value: float
    is_drift: bool
    reference: str
    current: str


def image_features(observations: Sequence[Observation]) -> Features:
    """Brightness, contrast, colour, sharpness and size of images."""
    mean = np.zeros((len(observations), 3))
    std = np.zeros((len(observations), 3))
    rest = np.zeros((len(observations), 3))
    sizes = []
    for index, seen in enumerate(observations):
        mean[index] = seen.rgb_mean
        std[index] = seen.rgb_std
        rest[index] = [np.log10(1 + seen.sharpness), seen.height, seen.width]
        sizes.append(f"{seen.height} x {seen.width}")
    brightness = mean.mean(axis=1)
    numbers = {
        "brightness": brightness,
        "contrast": std.mean(axis=1),
        "red": mean[:, 0] - brightness,
        "blue": mean[:, 2] - brightness,
        "sharpness": rest[:, 0],
        "height": rest[:, 1],
        "width": rest[:, 2],
    }
    return Features(numbers, {"image size": np.array(sizes, dtype=np.str_)})


def prediction_features(observations: Sequence[Observation], categories: Categories) -> Features:
    """Shares of classes and void, number and size of objects, and confidence of predictions."""
    bins = class_bins(observations, categories)  # (N, K + 1, B)
    pixels = bins.sum(axis=(1, 2))
    by_class = bins.sum(axis=2) / pixels[:, None]  # (N, K + 1)
    by_bin = bins.sum(axis=1) / pixels[:, None]  # (N, B)
    numbers = {
        "confidence": by_bin @ MIDDLES,
        "uncertain pixels": by_bin[:, MIDDLES < UNCERTAIN].sum(axis=1),
        **_segment_features(observations, categories),
    }
    names = []
    for index, category in enumerate(categories):
        names.append(category.name)
        numbers[f"share of {category.name}"] = by_class[:, index]
    largest = by_class.argmax(axis=1)
    kinds = np.array([*names, "background"], dtype=np.str_)[largest]
    return Features(numbers, {"largest class": kinds})


def _segment_features(
    observations: Sequence[Observation], categories: Categories
) -> dict[str, Floats]:
    void = np.zeros(len(observations))
    counts = np.zeros(len(observations))
    sizes = np.full(len(observations), np.nan)
    for index, seen in enumerate(observations):
        void[index] = seen.void / seen.pixels
        areas = []
        for segment in seen.segments:
            if segment.category_id in categories.index and categories[segment.category_id].isthing:
                areas.append(segment.area)
        counts[index] = len(areas)
        if areas:
            sizes[index] = np.sqrt(np.median(areas) / seen.pixels)
    if not categories.isthing.any():
        return {"void": void}
    return {"void": void, "objects": counts, "object size": sizes}


def pooled(val: Features, train: Features) -> Features:
    """The features of both splits, as long as predictions on training images are like the others.

    A network may be surer of images that it has learned and find more in them. So the training
    images count for a feature only where their distribution is close to that of validation images.
    """
    numbers = {}
    for name, values in val.numbers.items():
        drift = _compare_numbers(name, train.numbers[name], values)
        is_alike = drift is not None and drift.p_value > MIN_ALIKE
        both = np.concatenate([values, train.numbers[name]])
        numbers[name] = both if is_alike and name not in OF_CONFIDENCE else values
    kinds = {}
    for name, values_of_kind in val.kinds.items():
        kinds[name] = np.concatenate([values_of_kind, train.kinds[name]])
    return Features(numbers, kinds)


def find_drift(reference: Features, current: Features) -> list[Drift]:
    """Compare all features, the largest effect first.

    Raises:
        ValueError: there are too few images.
    """
    compared: list[Drift | None] = []
    for name, values in reference.numbers.items():
        compared.append(_compare_numbers(name, values, current.numbers[name]))
    for name, kinds in reference.kinds.items():
        compared.append(_compare_kinds(name, kinds, current.kinds[name]))
    tested = list(filter(None, compared))
    if not tested:
        return []
    adjusted = stats.false_discovery_control(list(map(attrgetter("p_value"), tested)))
    drifts = []
    for drift, p_value in zip(tested, adjusted.tolist(), strict=True):
        is_drift = drift.effect >= MIN_EFFECT and p_value < FALSE_DISCOVERIES
        drifts.append(replace(drift, p_value=p_value, is_drift=is_drift))
    return sorted(drifts, key=lambda drift: (not drift.is_drift, -drift.effect))


def merged(*features: Features) -> Features:
    """All features of the same images, or of two groups of images that have different features."""
    numbers: dict[str, Floats] = {}
    kinds: dict[str, Kinds] = {}
    for part in features:
        numbers |= part.numbers
        kinds |= part.kinds
    return Features(numbers, kinds)


def require_images(num_images: int, where: object) -> None:
    """Refuse too few images.

    Raises:
        ValueError: there are fewer than `MIN_IMAGES`.
    """
    if num_images < MIN_IMAGES:
        raise ValueError(
            f"{where}: expected at least {MIN_IMAGES} images, but got {num_images} - a drift "
            "cannot be told from chance with fewer; wait for more, or choose a longer period"
        )


def _compare_numbers(name: str, reference: Floats, current: Floats) -> Drift | None:
    """The Kolmogorov-Smirnov test of one feature; None where either side has too few values."""
    reference = reference[~np.isnan(reference)]
    current = current[~np.isnan(current)]
    if min(len(reference), len(current)) < MIN_IMAGES:
        return None
    result = stats.ks_2samp(reference, current)
    return Drift(
        name,
        "KS",
        float(result.statistic),
        float(result.pvalue),
        False,
        _percentiles(reference),
        _percentiles(current),
    )


def _compare_kinds(name: str, reference: Kinds, current: Kinds) -> Drift | None:
    """The chi-squared test of one feature; None where all images are of one kind."""
    table = _contingency(reference, current)
    if table.shape[1] < 2:
        return None
    result = stats.chi2_contingency(table)
    association = float(np.sqrt(result.statistic / table.sum()))  # Cramer's V of two rows
    return Drift(
        name,
        "chi2",
        association,
        float(result.pvalue),
        False,
        _most_frequent(reference),
        _most_frequent(current),
    )


def _contingency(reference: Kinds, current: Kinds) -> npt.NDArray[np.int64]:
    """Images of each kind (2, kinds), with the rare kinds in one column."""
    names, index = np.unique(np.concatenate([reference, current]), return_inverse=True)
    before = np.bincount(index[: len(reference)], minlength=len(names))
    now = np.bincount(index[len(reference) :], minlength=len(names))
    table = np.stack([before, now])
    expected = table.sum(axis=0) * table.sum(axis=1).min() / table.sum()
    is_rare = expected < MIN_EXPECTED
    other = table[:, is_rare].sum(axis=1, keepdims=True)
    columns = [table[:, ~is_rare]]
    if other.any():
        columns.append(other)
    return np.concatenate(columns, axis=1)


def _percentiles(values: Floats) -> str:
    low, middle, high = np.percentile(values, [5, 50, 95]).tolist()
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def _most_frequent(kinds: Kinds) -> str:
    names, counts = np.unique(kinds, return_counts=True)
    index = int(counts.argmax())
    return f"{names[index]} ({100 * counts[index] / len(kinds):.0f} %)"


def histograms(
    reference: Mapping[str, Floats], current: Mapping[str, Floats], *, num_columns: int = 24
) -> dict[str, tuple[list[float], list[float], list[float]]]:
    """The shares of images in columns of equal width: name -> edges, reference, current."""
    charts = {}
    for name, values in reference.items():
        both = np.concatenate([values, current[name]])
        both = both[~np.isnan(both)]
        if not len(both) or both.min() == both.max():
            continue
        edges = np.linspace(both.min(), both.max(), num_columns + 1)
        shares = []
        for side in (values, current[name]):
            counts, _ = np.histogram(side[~np.isnan(side)], edges)
            shares.append((counts / max(1, counts.sum())).tolist())
        charts[name] = (edges.tolist(), shares[0], shares[1])
    return charts
