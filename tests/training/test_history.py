import pytest
import torch

from maskmill.evaluation.learning_curves import read_history
from maskmill.training.history import History
from small_trainings import KillAt, Killed, Losses


def written(history, folder):
    return history.write(folder / "history.csv").read_bytes()


@pytest.mark.slow
def test_a_row_per_epoch_has_the_mean_loss_and_the_scores(train, uninterrupted, tmp_path):
    history, losses = History(), Losses()
    weights, _ = train(tmp_path, history, losses)
    without = uninterrupted().weights
    assert all(torch.equal(weights[key], without[key]) for key in without)
    rows = read_history(history.write(tmp_path / "history.csv"))
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["step"] for row in rows] == [5, 10, 15]
    for index, row in enumerate(rows):
        of_epoch = losses.values[5 * index : 5 * index + 5]  # batches of two images
        assert row["train/loss"] == pytest.approx(sum(of_epoch) / 5, rel=1e-5)
        assert row["score"] == row["val/mIoU"] > 0
        assert row["val/loss"] > 0
    assert "val/PQ" not in rows[0]  # a semantic task


# Setting of the training, position of the kill, and the epochs of the rows.
KILLS = [
    ({}, (0, 3), [1, 2, 3]),
    ({}, (1, 0), [1, 2, 3]),
    ({"val_check_interval": 2}, (1, 3), [0.4, 0.8, 1, 1.4, 1.8, 2]),
    ({"check_val_every_n_epoch": 2}, (1, 2), [1, 2]),
    ({"accumulate_grad_batches": 2}, (1, 2), [1, 2]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "position", "epochs"), KILLS, ids=str)
def test_a_resumed_run_writes_the_same_bytes(train, tmp_path, settings, position, epochs):
    settings = {"max_epochs": max(epochs), **settings}
    undisturbed = History()
    train(tmp_path / "whole", undisturbed, **settings)
    with pytest.raises(Killed):
        train(tmp_path / "killed", History(), KillAt(*position), **settings)
    resumed = History()
    train(tmp_path / "killed", resumed, **settings)
    assert written(resumed, tmp_path / "killed") == written(undisturbed, tmp_path / "whole")
    rows = read_history(tmp_path / "whole/history.csv")
    assert [row["epoch"] for row in rows] == epochs
    assert all(0 < row["train/loss"] < 3 for row in rows)  # log 4 = 1.4 at the start
