"""`maskmill doctor` names the problems of the store and changes nothing; --fix repairs them."""

import json
import shutil

import mlflow
import pytest
from mlflow.entities import Metric

from maskmill.stages import doctor
from maskmill.tracking.abandoned import PROCESS_TAG, this_process
from maskmill.tracking.store import connect, experiment_id
from maskmill.tracking.unsent import Unsent

pytestmark = pytest.mark.slow  # a real SQLite store


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["doctor", *arguments])
    with pytest.raises(SystemExit) as ended:
        doctor.main()
    return ended.value.code, capsys.readouterr().out


def test_unsent_values_and_dead_runs_are_named_and_repaired(store, monkeypatch, capsys):
    host = this_process().rpartition(" ")[0].rpartition(" ")[0]
    tags = {"maskmill.training": "a", PROCESS_TAG: f"{host} 1 0"}  # process 1 started later
    run_id = store.create_run(experiment_id("maskmill"), tags=tags).info.run_id
    Unsent(run_id).keep_metrics([Metric("loss", 1.5, 0, 3)])
    status, output = run(monkeypatch, capsys)
    assert status == 1
    assert f"1 metric values of run {run_id} are not in MLflow" in output
    assert f"run {run_id} is shown as running, but its process has died" in output
    assert output.splitlines()[-1].startswith("2 errors, ")
    assert output.count(" - run `maskmill doctor --fix`") == 2
    assert store.get_run(run_id).info.status == "RUNNING"
    status, output = run(monkeypatch, capsys, "--fix")
    assert status == 0
    assert output.splitlines()[-1].startswith("0 errors, ")
    assert store.get_run(run_id).info.status == "KILLED"
    assert store.get_run(run_id).data.metrics == {"loss": 1.5}


def test_a_moved_repository_is_named_and_repaired(store, tmp_path, monkeypatch, capsys):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    shutil.move(tmp_path / "mlflow.db", old)
    monkeypatch.chdir(old)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    run_id = connect().create_run(experiment_id("maskmill")).info.run_id
    old.rename(new)
    monkeypatch.chdir(new)
    mlflow.set_tracking_uri(None)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    status, output = run(monkeypatch, capsys)
    assert status == 1
    assert f"its artifacts are in {old}, but this repository is {new}" in output
    status, output = run(monkeypatch, capsys, "--fix")
    assert status == 0
    assert output.splitlines()[-1].startswith("0 errors, ")
    expected = f"{new}/mlruns/maskmill/{run_id}/artifacts"
    assert connect().get_run(run_id).info.artifact_uri == expected


def test_json_has_what_the_text_has(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:./mlruns")
    status, output = run(monkeypatch, capsys, "--json")
    rows = json.loads(output)
    assert status == 1
    assert [row["subject"] for row in rows if row["status"] == "error"] == ["MLflow"]
    assert all(row.keys() == {"status", "subject", "found", "fix"} for row in rows)
    _, text = run(monkeypatch, capsys)
    assert len(text.splitlines()) == len(rows) + 1
