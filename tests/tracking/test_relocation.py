"""A repository that was renamed, moved or copied keeps its runs, and writes nothing elsewhere."""

import shutil
import sqlite3
from pathlib import Path

import mlflow
import pytest

from maskmill.tracking import store as tracking_store
from maskmill.tracking.address import own_uri
from maskmill.tracking.relocation import find_relocations, local_uri
from maskmill.tracking.store import connect, experiment_id

pytestmark = pytest.mark.slow  # a real SQLite store


@pytest.fixture
def repository_with_a_run(store, tmp_path, monkeypatch):
    """A folder `old` whose store has a run with an artifact, and the run's id."""
    old = tmp_path / "old"
    old.mkdir()
    shutil.move(tmp_path / "mlflow.db", old)
    monkeypatch.chdir(old)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    run = connect().create_run(experiment_id("maskmill"))
    connect().log_text(run.info.run_id, "content", "a.txt")
    return old, run.info.run_id


def enter(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    mlflow.set_tracking_uri(None)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return connect()


def artifact(run_id):
    path = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="a.txt")
    return Path(path).read_text()


def files_below(folder):
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["new", "new with blanks, ümlauts # 100%25?"])
def test_a_moved_repository_finds_its_artifacts_and_writes_to_the_new_place(
    repository_with_a_run, tmp_path, monkeypatch, caplog, name
):
    old, run_id = repository_with_a_run
    new = tmp_path / name
    old.rename(new)
    client = enter(new, monkeypatch)
    assert f"was in {old} and is now in {new}: 2 locations" in caplog.text
    assert artifact(run_id) == "content"
    added = client.create_run(experiment_id("maskmill")).info.run_id
    client.log_text(added, "content", "a.txt")
    assert (new / "mlruns/maskmill" / added / "artifacts/a.txt").is_file()
    assert not old.exists()
    with sqlite3.connect(new / "mlflow.db.before-move") as copy:
        (location,) = copy.execute("select artifact_uri from runs").fetchone()
    assert location == f"{old}/mlruns/maskmill/{run_id}/artifacts"
    assert find_relocations(own_uri()) == []


def test_a_copy_has_artifacts_of_its_own(repository_with_a_run, tmp_path, monkeypatch):
    old, run_id = repository_with_a_run
    new = tmp_path / "new"
    shutil.copytree(old, new)
    before = files_below(old)
    client = enter(new, monkeypatch)
    assert client.get_run(run_id).info.artifact_uri == f"{new}/mlruns/maskmill/{run_id}/artifacts"
    added = client.create_run(experiment_id("maskmill")).info.run_id
    client.log_text(added, "content", "a.txt")
    assert (new / "mlruns/maskmill" / added / "artifacts/a.txt").is_file()
    assert files_below(old) == before
    client = enter(old, monkeypatch)
    assert client.get_run(run_id).info.artifact_uri == f"{old}/mlruns/maskmill/{run_id}/artifacts"


def test_a_copy_without_artifacts_is_refused(repository_with_a_run, tmp_path, monkeypatch):
    old, _ = repository_with_a_run
    new = tmp_path / "new"
    new.mkdir()
    shutil.copy(old / "mlflow.db", new)
    with pytest.raises(ValueError, match=f"cp -r {old}/mlruns {new}"):
        enter(new, monkeypatch)


def test_a_database_that_two_working_trees_share_stays_as_it_is(
    repository_with_a_run, tmp_path, monkeypatch
):
    old, run_id = repository_with_a_run
    new = tmp_path / "new"
    new.mkdir()
    (new / "mlflow.db").symlink_to(old / "mlflow.db")
    enter(new, monkeypatch)
    assert find_relocations(own_uri()) == []
    assert artifact(run_id) == "content"


def test_a_location_that_was_chosen_freely_stays_as_it_is(store, tmp_path, monkeypatch):
    elsewhere = tmp_path / "disk/mlruns/maskmill"
    elsewhere.mkdir(parents=True)
    store.create_experiment("maskmill", artifact_location=local_uri(elsewhere))
    store.create_experiment("other", artifact_location="s3://bucket/mlruns/other")
    assert find_relocations(tracking_store.tracking_uri()) == []
