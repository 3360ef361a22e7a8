import json

import pytest

from maskmill.canonical.categories import Categories
from maskmill.losses.class_weights import (
    effective_number,
    equal,
    inverse_frequency,
    median_frequency,
)
from strategies import CATEGORIES

THINGS = Categories([category for category in CATEGORIES if category.isthing])


def prepared(folder, pixels, *, categories=CATEGORIES, void=0):
    counts = dict.fromkeys(("images", "segments", "small", "medium", "large"), 0)
    rows = []
    for category, count in zip(categories, pixels, strict=True):
        weight = 0.5 if count else None
        rows.append({"name": category.name, "pixels": count, "weight": weight} | counts)
    size = {"pixels": 1000, "height": [10], "width": [100]}
    colors = {"rgb_mean": [0.0] * 3, "rgb_std": [0.0] * 3}
    statistics = size | colors | {"void_pixels": void, "classes": rows}
    content = {"categories": categories.as_list(), "statistics": {"train": statistics}}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def test_inverse_frequency_gives_all_classes_the_same_total_weight(tmp_path):
    weights = inverse_frequency(prepared(tmp_path, [100, 300, 50, 0]))
    # 1/100, 1/300 and 1/50 have a mean of 1/90; the class without a pixel has the weight 1
    assert weights == pytest.approx([0.9, 0.3, 1.8, 1.0])


def test_effective_number_is_between_equal_and_inverse(tmp_path):
    dataset = prepared(tmp_path, [1, 2, 0, 0])
    # beta 1/2: effective numbers 1 and 1.5, inverses 1 and 2/3 with a mean of 5/6
    assert effective_number(dataset, 0.5) == pytest.approx([1.2, 0.8, 1.0, 1.0])
    assert effective_number(dataset, 0.0) == pytest.approx([1.0, 1.0, 1.0, 1.0])
    assert effective_number(dataset, 1 - 1e-12) == pytest.approx(
        inverse_frequency(dataset), rel=1e-6
    )


def test_median_frequency_reads_the_weights_of_dataset_json(tmp_path):
    assert median_frequency(prepared(tmp_path, [100, 0, 3, 5])) == [0.5, 1.0, 0.5, 0.5]


def test_a_power_of_one_half_is_the_root_of_the_weights(tmp_path):
    dataset = prepared(tmp_path, [100, 0, 3, 5])
    assert median_frequency(dataset, power=0.5) == pytest.approx([0.5**0.5, 1.0, *[0.5**0.5] * 2])
    assert median_frequency(dataset, power=0.0) == [1.0] * 4


def test_the_background_has_a_weight_if_the_data_set_has_no_stuff(tmp_path):
    dataset = prepared(tmp_path, [100, 300], categories=THINGS, void=50)
    assert inverse_frequency(dataset) == pytest.approx([0.9, 0.3, 1.8])
    with pytest.raises(
        ValueError, match="things on a background - use class_weights=inverse_frequency"
    ):
        median_frequency(dataset)


def test_equal_weights_are_none():
    assert equal() is None


def test_a_data_set_without_statistics_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="check the path"):
        inverse_frequency(tmp_path)
    (tmp_path / "dataset.json").write_text("{}")
    with pytest.raises(ValueError, match="prepare the data again"):
        inverse_frequency(tmp_path)
