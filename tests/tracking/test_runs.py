import sqlite3
import subprocess

import pytest

from maskmill.tracking.runs import code_tags, flatten


def test_a_configuration_becomes_dotted_parameters():
    config = {
        "optimizer": {"lr": 0.1},
        "list": [1, 2],
        "parts": [{"a": 1}, {"b": None}],
        "empty": {},
    }
    assert flatten(config) == {
        "optimizer.lr": "0.1",
        "list": "[1, 2]",
        "parts.0.a": "1",
        "parts.1.b": "None",
        "empty": "{}",
    }


def git(folder, *arguments):
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


TRACKED = [
    *("params.yaml", "dvc.lock", "data.dvc", "raw/more.dvc", ".dvc/config", ".gitignore"),
    *("lineage.yaml", "dvc.yaml", "conf/config.yaml", "src/net.py", "notes.md"),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    git(folder, "init", "-q")
    for name in TRACKED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("a\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "all")
    return folder


@pytest.mark.parametrize("name", TRACKED)
def test_the_commit_is_that_of_the_code_whatever_the_parameters_and_dvc(project, monkeypatch, name):
    (project / "src").mkdir(exist_ok=True)
    monkeypatch.chdir(project / "src")
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    (project / name).write_text("b\n")
    (project / "untracked").write_text("c")
    tags = code_tags()
    (project / name).write_text("a\n")
    commit = git(project, "rev-parse", "HEAD")
    is_code = name in {"dvc.yaml", "conf/config.yaml", "src/net.py", "notes.md"}
    assert tags == {"git_commit": commit + ("+changes" if is_code else "")}


def test_a_run_carries_the_name_of_its_dvc_experiment(project, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.setenv("DVC_EXP_NAME", "lr-high")
    commit = git(project, "rev-parse", "HEAD")
    assert code_tags() == {"git_commit": commit, "dvc_experiment": "lr-high"}


@pytest.mark.slow
def test_a_run_resumes_under_its_id_in_the_store_that_mlflow_ui_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    import mlflow

    from maskmill.tracking.lineage import MODEL_TAG, find_run
    from maskmill.tracking.runs import Tracking, log_inputs
    from maskmill.tracking.store import connect

    tracking = Tracking("trial", "first", system_metrics=False)
    with tracking.run(None, {"seed": "0"}) as run_id:
        splits = {"train": {"num_images": 5}, "val": {"num_images": 2}}
        described = {"source": "Drawn", "digest": "f" * 64, "splits": splits}
        described |= {"problems": [{"name": "x"}], "findings": []}
        params = {"network": "unet", "encoder": "resnet18", "loss": "dice", "lr": "0.1"}
        note = log_inputs(params, described, {"train": {"out": "o"}})
        mlflow.log_metric("loss", 1.0)
    with tracking.run(run_id, {MODEL_TAG: "abc"}) as resumed_id:
        assert log_inputs({"network": "other"}, described, {}) == note
        mlflow.log_metric("loss", 0.5, step=1)
    client = connect()
    run = client.get_run(run_id)
    assert resumed_id == run_id
    assert len(client.get_metric_history(run_id, "loss")) == 2
    assert run.data.params == params
    assert note.startswith("unet + resnet18 + dice on Drawn (5 train, 2 val images)\n")
    assert f"/runs/{run_id}/artifacts/data/dataset.json) (1 images left out, 0 findings)" in note
    assert run.data.tags["mlflow.note.content"] == note
    assert run.inputs.dataset_inputs[0].dataset.digest == "f" * 36
    assert "config/train.yaml" in [file.path for file in client.list_artifacts(run_id, "config")]
    assert (tmp_path / "mlflow.db").is_file()
    assert run.info.artifact_uri.startswith(str(tmp_path / "mlruns" / "trial"))
    assert find_run("abc").info.run_id == run_id
    assert find_run("abd") is None
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        assert database.execute("select count(*) from runs").fetchone() == (1,)
