import subprocess
import sys
import time
from pathlib import Path

import pytest

from maskmill.training.resume_state import TrainingState, training_fingerprint


def test_configuration_data_and_code_each_change_the_fingerprint():
    code = {"maskmill.a": "1", "maskmill.b": "2"}
    fingerprints = {
        training_fingerprint({"seed": 0}, "data", code),
        training_fingerprint({"seed": 1}, "data", code),
        training_fingerprint({"seed": 0}, "other", code),
        training_fingerprint({"seed": 0}, "data", code | {"maskmill.a": "3"}),
        training_fingerprint({"seed": 0}, "data", {"maskmill.a": "1"}),
    }
    assert len(fingerprints) == 5


def test_the_order_of_keys_does_not_change_the_fingerprint():
    fingerprint = training_fingerprint({"seed": 0, "data": 1}, "data", {"a": "1", "b": "2"})
    reordered = training_fingerprint({"data": 1, "seed": 0}, "data", {"b": "2", "a": "1"})
    assert reordered == fingerprint


PROGRAM = """
import pathlib, sys
from maskmill.training.resume_state import TrainingState
with TrainingState(pathlib.Path(sys.argv[1]), "abc").locked():
    pass
"""


def lock_in_another_process(root):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(root)], capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_only_one_process_uses_a_state(tmp_path):
    with TrainingState(tmp_path, "abc").locked():
        other = lock_in_another_process(tmp_path)
        assert other.returncode != 0
        assert "expected no other process to run this training" in other.stderr
    assert lock_in_another_process(tmp_path).returncode == 0


def test_a_state_remembers_its_run_until_it_is_deleted(tmp_path):
    state = TrainingState(tmp_path, "abc")
    assert state.run_id is None
    with state.locked():
        state.run_id = "r1"
    reopened = TrainingState(tmp_path, "abc")
    assert reopened.run_id == "r1"
    reopened.delete()
    assert TrainingState(tmp_path, "abc").run_id is None


@pytest.mark.parametrize("damage", [b"", b"\x00\xff\x80", b'{"model": '], ids=str)
def test_damaged_files_of_a_state_are_those_of_no_earlier_start(tmp_path, damage, caplog):
    state = TrainingState(tmp_path, "abc")
    with state.locked():
        state.describe({"lr": "1"}, Path("train"))
    for name in ("mlflow_run", "finished.json", "inputs.json"):
        (state.folder / name).write_bytes(damage)
    assert state.run_id is None
    assert state.finished is None
    TrainingState(tmp_path, "other").describe({"lr": "2"}, Path("train"))
    assert "starts from scratch: its inputs are not known" in caplog.text


@pytest.mark.parametrize(
    ("out", "warning"),
    [
        ("train", "unfinished training in {} does not match, so this one starts from scratch: lr"),
        ("try", None),
        (None, None),
    ],
)
def test_only_an_unfinished_training_of_the_same_folder_is_compared(tmp_path, out, warning, caplog):
    earlier = TrainingState(tmp_path, "earlier")
    earlier.describe({"lr": "1"}, Path("train"))
    time.sleep(0.01)  # the state of another folder is the later one
    TrainingState(tmp_path, "other").describe({"lr": "2"}, Path("other"))
    assert not caplog.messages
    TrainingState(tmp_path, "new").describe({"lr": "3"}, None if out is None else Path(out))
    expected = [] if warning is None else [f"the {warning.format(earlier.folder)} was 1, is 3"]
    assert caplog.messages == expected


def test_the_runs_of_other_trainings_are_abandoned_unless_a_process_holds_them(tmp_path):
    own, held, killed = (TrainingState(tmp_path, name) for name in ("own", "held", "killed"))
    for state in (own, held, killed):
        state.run_id = f"run0{state.fingerprint}"
    with own.locked(), held.locked():
        assert own.abandoned_run_ids() == ["run0killed"]
        assert killed.abandoned_run_ids() == []
