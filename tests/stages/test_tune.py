"""The commands that look for a batch size and a learning rate, as users start them: a result, its
override, and nothing left behind.
"""

import csv

import pytest

from commands import QUICK, prepare, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("tune"), num_train=9, num_val=1)


def left(folder):
    """All that lies in the folder but the results."""
    return {path for path in folder.rglob("*") if "tune" not in path.parts[len(folder.parts) :]}


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_batch_size_is_found_and_its_override_trains(prepared):
    before = left(prepared)
    output = run("find_batch_size", *QUICK, "tune.batch_size.num_steps=1", cwd=prepared)
    assert left(prepared) == before
    assert (
        "data.batch_size=8: the largest one tried that fits; there are 9 training images" in output
        or "were not faster" in output
    )
    table = rows(prepared / "out/tune/batch_size.csv")
    assert [int(row["batch_size"]) for row in table] == [2, 4, 8][: len(table)]
    assert all(
        float(row["images_per_second"]) > 0 and int(row["memory_bytes"]) > 10**8 for row in table
    )
    assert (
        f"-> {prepared / 'out/tune/batch_size.csv'}" in output
        or "-> out/tune/batch_size.csv" in output
    )


def test_the_learning_rate_found_is_reproducible_and_independent_of_the_schedule(prepared):
    before = left(prepared)
    line = ["find_lr", *QUICK, "tune.lr.num_steps=24", "tune.lr.lowest=1e-5"]
    output = run(*line, cwd=prepared)
    assert left(prepared) == before
    table = rows(prepared / "out/tune/lr.csv")
    assert float(table[0]["lr"]) == pytest.approx(1e-5)
    assert float(table[1]["lr"]) == pytest.approx(
        1e-5 * 1e5 ** (1 / 23), rel=1e-5
    )  # written with six digits
    suggestion = output.split("optimizer.lr=")[1].split(":")[0]
    assert f"optimizer.lr={suggestion}</b>" in (prepared / "out/tune/lr.html").read_text()
    again = run(
        *line,
        "scheduler=cosine",
        "scheduler.warmup_steps=10",
        "tune.out=out/tune/again",
        cwd=prepared,
    )
    assert f"optimizer.lr={suggestion}:" in again
    assert (prepared / "out/tune/again/lr.csv").read_bytes() == (
        prepared / "out/tune/lr.csv"
    ).read_bytes()


@pytest.mark.parametrize(
    ("command", "overrides", "message"),
    [
        pytest.param(
            "find_lr",
            ["data.root=nowhere"],
            "nowhere: expected a prepared data set",
            id="missing-folder",
        ),
        pytest.param(
            "find_batch_size",
            ["data.root=nowhere"],
            "run `maskmill prepare` first",
            id="missing-folder-for-batches",
        ),
        pytest.param(
            "find_batch_size",
            ["tune.batch_size.smallest=20"],
            "at least 20 training images, but there are 9",
            id="few-images",
        ),
        pytest.param("find_lr", ["trainer=ddp_cpu"], "Expected one device", id="several-processes"),
        pytest.param("find_lr", ["tune.lr.lowest=2"], "check tune.lr", id="rates-out-of-order"),
    ],
)
def test_a_setting_that_cannot_be_used_gives_one_message(prepared, command, overrides, message):
    output = run(command, *QUICK, *overrides, cwd=prepared, status=1)
    assert message in output
    assert "Traceback" not in output
