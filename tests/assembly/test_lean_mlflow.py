"""MLflow without pandas, in commands alone."""

import subprocess
import sys

import pytest

COMMAND = """
import sys
from maskmill.assembly.command_end import AT_THE_END
from maskmill.assembly.lean_mlflow import import_mlflow
with AT_THE_END:
    import_mlflow()
"""
TRACKS = """
from maskmill.tracking.store import connect, experiment_id
client = connect()
run = client.create_run(experiment_id("maskmill"))
client.log_metric(run.info.run_id, "loss", 0.5)
assert client.get_run(run.info.run_id).data.metrics == {"loss": 0.5}
assert "pandas" not in sys.modules
import pandas
assert len(pandas.DataFrame({"loss": [0.5]})) == 1
"""
CALLER = """
import sys
from maskmill.assembly.lean_mlflow import import_mlflow
import_mlflow()
assert "mlflow" not in sys.modules
import mlflow
assert mlflow.models.infer_signature and mlflow.data.from_pandas
"""


def run(code, folder):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_command_tracks_its_run_without_pandas(tmp_path):
    run(COMMAND + TRACKS, tmp_path)


@pytest.mark.slow
def test_the_caller_of_a_function_has_all_of_mlflow(tmp_path):
    run(CALLER, tmp_path)


@pytest.mark.slow
def test_a_project_with_code_of_its_own_has_all_of_mlflow(tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/targets.yaml").write_text("configuration: [street_nets]\n")
    run(COMMAND + 'assert "mlflow" not in sys.modules', tmp_path)
