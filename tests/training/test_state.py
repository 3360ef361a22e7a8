import subprocess
import sys

import maskmill
from maskmill.training.state import TrainingState, training_fingerprint


def test_a_training_is_named_by_configuration_and_data():
    name = training_fingerprint({"seed": 0}, "data")
    assert name == training_fingerprint({"seed": 0}, "data")
    assert (
        len(
            {
                name,
                training_fingerprint({"seed": 1}, "data"),
                training_fingerprint({"seed": 0}, "other"),
            }
        )
        == 3
    )


def test_an_edited_source_file_is_another_training(tmp_path, monkeypatch):
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks" / "a.py").write_text("x = 1")
    monkeypatch.setattr(maskmill, "__file__", str(tmp_path / "__init__.py"))
    before = training_fingerprint({}, "data")
    (tmp_path / "networks" / "a.py").write_text("x = 2")
    assert training_fingerprint({}, "data") != before


def test_only_one_process_trains_into_a_state(tmp_path):
    state = TrainingState(tmp_path, "abc")
    imports = "import pathlib, sys; from maskmill.training.state import TrainingState"
    program = f"{imports}\nwith TrainingState(pathlib.Path(sys.argv[1]), 'abc').held(): pass"
    with state.held():
        other = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert other.returncode != 0
        assert "another process is running this very training" in other.stderr
    assert (
        subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False).returncode == 0
    )


def test_the_state_remembers_run_and_checkpoint_and_is_gone_when_deleted(tmp_path):
    state = TrainingState(tmp_path, "abc")
    assert (state.run_id, state.last_checkpoint) == (None, None)
    with state.held():
        state.run_id = "r1"
        (state.folder / "last.ckpt").touch()
    again = TrainingState(tmp_path, "abc")
    assert again.run_id == "r1"
    assert again.last_checkpoint == again.folder / "last.ckpt"
    again.delete()
    assert TrainingState(tmp_path, "abc").run_id is None
