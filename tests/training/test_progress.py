import logging

import pytest
from lightning import Trainer

from maskmill.training.progress import Bar, Lines, Progress
from maskmill.training.step_log import StepLog


def logged_lines(caplog):
    lines = []
    for record in caplog.records:
        if record.name == "maskmill.training.progress":
            lines.append(record.getMessage())
    return lines


@pytest.mark.slow
def test_lines_show_step_loss_score_speed_memory_and_time_left(train, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="maskmill"):
        train(tmp_path, StepLog(), Lines(every_seconds=0.0), log_every_n_steps=1, max_epochs=2)
    lines = logged_lines(caplog)
    assert len(lines) == 10
    assert lines[7].startswith("epoch 2, step 3 of 5  loss ")
    for text in ("val/mIoU ", "images/s ", "memory ", " GB", "left 0:00:"):
        assert text in lines[7]
    assert lines[-1].endswith("left 0:00:00")


@pytest.mark.slow
def test_lines_are_rare(train, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="maskmill"):
        train(tmp_path, Lines(), max_epochs=1)
    assert not logged_lines(caplog)


@pytest.mark.slow
def test_the_bar_shows_the_same_facts(train, tmp_path, capsys):
    train(tmp_path, StepLog(), Bar(), log_every_n_steps=1, max_epochs=3, enable_progress_bar=True)
    output = capsys.readouterr().out
    for text in ("loss=", "val/mIoU=", "images/s=", "memory=", "left="):
        assert text in output


def test_the_time_left_is_that_of_the_limit_where_the_number_of_steps_is_unknown():
    settings = {"max_epochs": -1, "logger": False, "accelerator": "cpu"}
    assert Progress().time_left(Trainer(max_time="00:01:02:05", **settings)) == "1:02:05"
    assert Progress().time_left(Trainer(**settings)) == "?"
