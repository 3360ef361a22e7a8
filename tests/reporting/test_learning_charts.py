import re

import pytest

from maskmill.evaluation.learning_curves import read_history, write_history
from maskmill.reporting.learning_charts import learning_figures

ROWS = [
    {"epoch": 0.5, "step": 5, "train/loss": 8.0},
    {"epoch": 1.0, "step": 10, "train/loss": 4.0, "val/loss": 5.0, "score": 0.25, "val/PQ": 0.25},
    {"epoch": 2.0, "step": 20, "train/loss": 2.0, "val/loss": 4.0, "score": 0.75, "val/PQ": 0.75},
]


def test_curves_are_read_as_they_were_written(tmp_path):
    path = write_history(tmp_path / "history.csv", ROWS)
    assert path.read_text().splitlines()[:2] == [
        "epoch,step,train/loss,val/loss,score,val/PQ",
        "0.5,5,8,,,",
    ]
    assert read_history(path) == ROWS


def test_lines_go_through_the_values_on_axes_with_round_numbers():
    losses, score = learning_figures(ROWS, "PQ")
    # The plot area is 240 px wide and high, from x = 42 and down to y = 248.
    assert 'd="M102.0 8.0L162.0 128.0L282.0 188.0"' in losses.chart  # 8, 4, 2 of 8
    assert 'd="M162.0 168.0L282.0 8.0"' in score.chart  # 25 and 75 of 75 %
    assert re.findall(r">([\d.]+)</text>", losses.chart)[:5] == ["0", "0.5", "1", "1.5", "2"]
    assert losses.caption.endswith("at the end 2 and 4.")
    assert score.caption == "Validation score. Best, and kept: PQ 75.0 % after epoch 2."


def test_one_row_is_no_curve():
    assert learning_figures(ROWS[:1], "PQ") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch,step\n1,two\n", r"history\.csv: expected a number in each cell, but got \['1', "),
        ("step\n1\n", r"history\.csv: expected the column 'epoch', but got \['step'\]"),
        ("epoch,step\n1,2,3\n", r"history\.csv: expected a number in each cell"),
    ],
)
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, text, message):
    path = tmp_path / "history.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_history(path)
