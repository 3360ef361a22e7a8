import logging

from maskmill.training.progress import Bar, Lines
from maskmill.training.step_log import StepLog


def test_lines_say_place_loss_score_speed_memory_and_time_left(train, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="maskmill"):
        train(tmp_path, StepLog(), Lines(every_seconds=0.0), log_every_n_steps=1, max_epochs=2)
    lines = [
        record.getMessage()
        for record in caplog.records
        if record.name == "maskmill.training.progress"
    ]
    assert len(lines) == 10
    assert lines[7].startswith("epoch 2, step 3 of 5  loss ")
    assert all(
        word in lines[7] for word in ("val/mIoU ", "images/s ", "memory ", " GB", "left 0:00:")
    )
    assert lines[-1].endswith("left 0:00:00")


def test_lines_are_sparse(train, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="maskmill"):
        train(tmp_path, Lines(), max_epochs=1)
    assert not [record for record in caplog.records if record.name == "maskmill.training.progress"]


def test_the_bar_shows_the_same(train, tmp_path, capsys):
    train(tmp_path, StepLog(), Bar(), log_every_n_steps=1, max_epochs=3, enable_progress_bar=True)
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("loss=", "val/mIoU=", "images/s=", "memory=", "left="))
