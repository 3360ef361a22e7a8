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
        [{"id": -3, "name": "a"}],
        "expected a number greater than or equal to 0 at categories[0].id (of 'a'), but got -3",
        id="negative",
    ),
    pytest.param(
        [{"name": "a"}], "expected a value at categories[0].id (of 'a'), but got none", id="no-id"
    ),
]


BAD_VALUES = [
    ({"id": "1"}, "expected a valid integer at categories[1].id (of 'b'), but got '1'"),
    ({"id": True}, "expected a valid integer at categories[1].id (of 'b'), but got True"),
    ({"id": 2**31}, "expected a number less than 2147483648 at categories[1].id"),
    ({"name": None}, "expected a valid string at categories[1].name (of id 1), but got None"),
    ({"name": ""}, "expected String with at least 1 character at categories[1].name"),
    ({"isthing": "0"}, "expected 0, 1, True or False at categories[1].isthing (of 'b')"),
    ({"color": [1, 2]}, "with at least 3 items"),
    ({"color": [1, 2, 256]}, "expected a number less than or equal to 255 at categories[1].color"),
    ({"color": "red"}, "at categories[1].color (of 'b'), but got 'red'"),
]


@pytest.mark.parametrize(("change", "message"), BAD_VALUES)
def test_a_bad_value_of_a_table_is_named(change, message):
    rows = [{"id": 0, "name": "a"}, {"id": 1, "name": "b"} | change]
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        Categories.from_list(rows)
    assert message in str(caught.value)


@pytest.mark.parametrize(("rows", "message"), BAD_TABLES)
def test_a_bad_table_is_refused(rows, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        Categories.from_list(rows)
    assert message in str(caught.value)


TABLE = Categories.from_list(
    [{"id": 1, "name": "cat", "isthing": 1}, {"id": 2, "name": "sky", "isthing": 0}]
)
OTHER_TABLES = [
    pytest.param(
        [{"id": 1, "name": "sky", "isthing": 0}, {"id": 2, "name": "cat", "isthing": 1}],
        "id 1 'sky' (stuff) instead of 'cat' (thing), id 2 'cat' (thing) instead of 'sky' (stuff)",
        id="swapped",
    ),
    pytest.param(
        [{"id": 2, "name": "sky", "isthing": 1}],
        "id 2 'sky' (thing) instead of 'sky' (stuff)",
        id="kind",
    ),
    pytest.param([{"id": 2, "isthing": True}], "id 2 'sky' (thing)", id="kind-alone"),
    pytest.param([{"id": 1, "name": "dog"}], "id 1 'dog' (thing) instead of 'cat'", id="name"),
    pytest.param([{"id": 9, "name": "fog"}], "id 9 ('fog'), which is not among them", id="unknown"),
    pytest.param([{"id": 1}, {"id": 1}], "expected each id once, but got 1 in rows", id="repeated"),
    pytest.param([{"name": "cat"}], "expected a value at categories[0].id (of 'cat')", id="no-id"),
]


@pytest.mark.parametrize(("rows", "message"), OTHER_TABLES)
def test_predictions_with_another_table_are_refused(rows, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        TABLE.require_same(rows, "pred.json")
    assert str(caught.value).startswith("pred.json: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([], id="none"),
        pytest.param([{"id": 2}, {"id": 1}], id="ids-alone"),
        pytest.param([{"id": 2, "name": "sky"}], id="no-kind"),
        pytest.param([{"id": 1, "isthing": 1, "supercategory": "animal"}], id="no-name"),
    ],
)
def test_what_the_table_of_predictions_lacks_is_not_compared(rows):
    TABLE.require_same(rows, "pred.json")
