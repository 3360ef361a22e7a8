"""Each row of the table in docs/evaluation.md, computed."""

from pathlib import Path

import pytest

from drawn_folders import write_overlaps, write_things
from maskmill.assembly.scoring import BACKGROUND
from maskmill.canonical.categories import Categories
from maskmill.canonical.files import read_json
from maskmill.canonical.folder import PanopticFolder
from maskmill.evaluation.evaluation import evaluate_folders

REPOSITORY = Path(__file__).parents[2]
GOLDEN = REPOSITORY / "tests" / "golden"
EXPECTED = read_json(GOLDEN / "expected.json")
# Value and tolerance, from panopticapi and from the tests of deeplab2 and BDD100K.
OWN_VALUES = {
    "drawn": (EXPECTED["panoptic"]["near"]["All"]["pq"], 1e-14),  # sums in another order
    "drawn, things only": (EXPECTED["things"], 1e-14),
    "deeplab2": (0.76855499, 1e-7),  # in float32
    "BDD100K": (0.6646278879162743, 1e-14),
}


def rows_of_table():
    lines = (REPOSITORY / "docs" / "evaluation.md").read_text().splitlines()
    first = next(line for line in lines if line.startswith("| evaluator | sample |"))
    table = lines[lines.index(first) + 2 :]
    rows = [line.strip("|").split("|") for line in table[: table.index("")]]
    return [tuple(cell.strip() for cell in row) for row in rows]


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Sample name -> folders of target and prediction."""
    folder = tmp_path_factory.mktemp("samples")
    pairs = {
        "drawn": (GOLDEN / "target", GOLDEN / "near"),
        "drawn, things only": tuple(
            write_things(PanopticFolder(GOLDEN / name), folder / name)
            for name in ("target", "near")
        ),
    }
    for name, sample in read_json(GOLDEN / "published.json").items():
        table = Categories.from_list(sample["categories"])
        pairs[name] = write_overlaps(sample["images"], table, folder / name)
    return pairs


@pytest.mark.parametrize("row", rows_of_table(), ids=lambda row: " ".join(row[1:4]))
def test_a_row_of_the_table_has_the_value_that_it_states(samples, row):
    _, sample, void, void_in_union, stated, is_own = row
    scores = evaluate_folders(
        *samples[sample],
        background=BACKGROUND[void],
        void_in_union={"true": True, "false": False}[void_in_union],
    ).scores()
    assert f"{scores['PQ']:.6f}" == stated
    value, tolerance = OWN_VALUES[sample]
    assert (abs(scores["PQ"] - value) <= tolerance) == (is_own == "yes")


def test_the_table_has_every_sample_with_its_own_value():
    own = [row[1] for row in rows_of_table() if row[-1] == "yes"]
    assert sorted(own) == sorted(OWN_VALUES)
