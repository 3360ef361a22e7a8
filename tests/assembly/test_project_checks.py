"""`maskmill doctor` about git, DVC and MLflow: each condition is a real one."""

import shutil
import subprocess

import pytest

from maskmill.assembly.project_checks import (
    check_dvc,
    check_git,
    check_tracking,
    missing_artifacts,
)
from maskmill.tracking.store import experiment_id


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_a_folder_without_a_commit_is_a_warning(tmp_path):
    assert str(check_git(tmp_path)).startswith(
        "warning  git: no commit: fatal: not a git repository"
    )
    git(tmp_path, "init")
    assert check_git(tmp_path).status == "warning"
    git(tmp_path, "commit", "--allow-empty", "-m", "first")
    assert check_git(tmp_path).found.startswith("at commit ")


def test_a_repository_of_another_user_gets_git_s_own_remedy(tmp_path, monkeypatch):
    git(tmp_path, "init")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    found = check_git(tmp_path)
    assert found.status == "warning"
    assert found.fix == f"run `git config --global --add safe.directory {tmp_path}`"


def test_git_that_is_not_installed_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert str(check_git(tmp_path)) == (
        "error    git: is not installed, and DVC needs it - install git"
    )


def dvc(folder, text):
    (folder / ".dvc").mkdir()
    (folder / ".dvc" / "config").write_text(f"[core]\nno_scm = true\n{text}")
    return list(map(str, check_dvc(folder)))


def test_a_folder_without_dvc_is_a_note(tmp_path):
    (found,) = check_dvc(tmp_path)
    assert (found.status, found.found) == ("note", "is not set up here")


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (
            "",
            [
                "note     DVC remote: none: data and models stay on this machine - "
                "share data and models with `dvc remote add -d NAME URL`"
            ],
        ),
        (
            "remote = old\n['remote \"new\"']\nurl = {folder}/cache\n",
            [
                "error    DVC remote: expected the default remote 'old' to exist, but got "
                "['new'] - run `dvc remote default NAME`",
                "ok       DVC remote new: {folder}/cache",
            ],
        ),
        (
            "remote = disk\n['remote \"disk\"']\nurl = {folder}/gone/cache\n",
            [
                "error    DVC remote disk: {folder}/gone/cache: expected a folder, but there is "
                "none - mount the disk, or run `dvc remote modify disk url FOLDER`"
            ],
        ),
        (
            "remote = cloud\n['remote \"cloud\"']\nurl = oss://user:secret@bucket/street\n",
            [
                "error    DVC remote cloud: oss://bucket/street: oss is supported, but requires "
                "'dvc-oss' to be installed - run `pip install dvc-oss`"
            ],
        ),
        (
            "remote = web\n['remote \"web\"']\nurl = foo://bucket\n",
            [
                "error    DVC: expected a configuration, but got: config file error: Unsupported "
                "URL type foo:// for dictionary value @ data['remote']['web'] - "
                "correct .dvc/config or .dvc/config.local"
            ],
        ),
    ],
    ids=["none", "default-missing", "folder-missing", "package-missing", "broken"],
)
def test_each_problem_of_a_remote_has_its_fix(text, messages, tmp_path):
    expected = [message.format(folder=tmp_path) for message in messages]
    assert dvc(tmp_path, text.format(folder=tmp_path)) == expected


def test_a_project_without_runs_is_a_note_and_gets_no_database(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (found,) = check_tracking()
    assert str(found) == f"note     MLflow: {tmp_path}/mlflow.db: no runs yet - train a model"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://127.0.0.1:9", "http://127.0.0.1:9: expected an MLflow server, but got: "),
        ("file:./mlruns", "MLFLOW_TRACKING_URI=file:./mlruns: expected a database or a server"),
        ("sqlite:///{folder}/a.db", "{folder}/a.db: expected MLflow's database, but it is damaged"),
    ],
)
def test_a_store_that_cannot_be_used_is_an_error(uri, message, tmp_path, monkeypatch):
    (tmp_path / "a.db").write_text("text")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(folder=tmp_path))
    (found,) = check_tracking()
    assert found.status == "error"
    assert found.found.startswith(message.format(folder=tmp_path))
    assert found.fix


@pytest.mark.slow
def test_a_deleted_folder_of_runs_and_of_a_version_is_named(store, tmp_path):
    run_id = store.create_run(experiment_id("maskmill")).info.run_id
    (tmp_path / "model.txt").write_text("weights")
    store.log_artifact(run_id, str(tmp_path / "model.txt"))
    source = store.get_run(run_id).info.artifact_uri
    store.create_registered_model("street")
    store.create_model_version("street", source, run_id)
    database = tmp_path / "mlflow.db"
    assert list(missing_artifacts(database)) == []
    assert [found.status for found in check_tracking()] == ["ok"]
    shutil.rmtree(tmp_path / "mlruns" / "maskmill")
    assert list(map(str, missing_artifacts(database))) == [
        f"error    models:/street/1: {source}: expected the files of this version, but there is "
        "no such folder - copy the folder back, or register the model again",
        f"warning  experiment maskmill: {tmp_path}/mlruns/maskmill: expected the files of its "
        "runs, but there is no such folder - copy the folder back to see their files; new runs "
        "create it",
    ]
