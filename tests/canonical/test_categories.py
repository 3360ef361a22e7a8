import pytest

from maskmill.canonical.categories import IGNORE_INDEX, Categories, color_of
from strategies import CATEGORIES


def test_reading_the_coco_form_returns_the_table():
    assert Categories.from_list(CATEGORIES.as_list()) == CATEGORIES


def test_indices_follow_the_order_of_the_table_and_not_the_ids():
    assert CATEGORIES.index == {7: 0, 0: 1, 21: 2, 3: 3}
    assert CATEGORIES.ids.tolist() == [7, 0, 21, 3]
    assert CATEGORIES.isthing.tolist() == [False, False, True, True]
    assert CATEGORIES[21].name == "ball"
    assert 21 in CATEGORIES
    assert 2 not in CATEGORIES


def test_only_a_table_of_things_has_a_background():
    things = Categories(category for category in CATEGORIES if category.isthing)
    assert (CATEGORIES.background_index, CATEGORIES.num_outputs) == (None, 4)
    assert (things.background_index, things.num_outputs) == (2, 3)


def test_the_largest_table_with_background_stays_below_the_ignore_index():
    rows = [{"id": index, "name": f"c{index}", "isthing": 1} for index in range(254)]
    table = Categories.from_list(rows)
    assert table.num_outputs - 1 < IGNORE_INDEX


def test_the_colours_of_categories_differ_from_each_other_and_from_void():
    colors = {color_of(index) for index in range(254)}
    assert len(colors) == 254
    assert (0, 0, 0) not in colors


BAD_TABLES = [
    pytest.param([], "Expected 1 to 254 categories, but got 0", id="empty"),
    pytest.param(
        [{"id": index, "name": str(index)} for index in range(255)],
        "but got 255 - merge or drop classes",
        id="too-long",
    ),
    pytest.param(
        [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}],
        "Expected each category id once, but got several times: 1",
        id="repeated-id",
    ),
    pytest.param(
        [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}],
        "Expected each category name once, but got several times: a",
        id="repeated-name",
    ),
    pytest.param(
        [{"id": -3, "name": "a"}], "Expected category ids of 0 and above, but got -3", id="negative"
    ),
    pytest.param(
        [{"name": "a"}], "Expected `id` and `name` in every category, but row 0", id="no-id"
    ),
]


@pytest.mark.parametrize(("rows", "message"), BAD_TABLES)
def test_a_bad_table_is_refused(rows, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        Categories.from_list(rows)
    assert message in str(caught.value)
