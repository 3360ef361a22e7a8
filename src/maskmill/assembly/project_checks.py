"""The project: git, DVC and its remote, MLflow's store and the files of its runs."""

import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from maskmill.assembly.diagnosis import Diagnosis
from maskmill.tracking.address import check_store, database_path, shown, tracking_uri
from maskmill.tracking.relocation import local_path

# Whose files are where, in MLflow's tables.
VERSIONS = (
    "select 'models:/' || name || '/' || version, storage_location from model_versions "
    "where current_stage != 'Deleted_Internal'"
)
EXPERIMENTS = (
    "select distinct 'experiment ' || experiments.name, artifact_location "
    "from experiments join runs using (experiment_id) where runs.lifecycle_stage = 'active'"
)


def check_project(project: Path) -> Iterator[Diagnosis]:
    """Everything that the pipeline of a project needs."""
    yield check_git(project)
    yield from check_dvc(project)
    yield from check_tracking()


def check_git(project: Path) -> Diagnosis:
    """Whether runs can record the commit that they are of."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        answer = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return Diagnosis("error", "git", "is not installed, and DVC needs it", "install git")
    if answer.returncode == 0:
        return Diagnosis("ok", "git", f"at commit {answer.stdout.strip()}")
    reason = (answer.stderr.strip().splitlines() or ["no answer"])[0]
    fix = "run `git init` and commit: runs record the commit, and `reproduce` needs it"
    if "dubious ownership" in reason:
        fix = f"run `git config --global --add safe.directory {project}`"
    return Diagnosis("warning", "git", f"no commit: {reason}", fix)


def check_dvc(project: Path) -> Iterator[Diagnosis]:
    """Whether DVC is set up, and can reach its remote as far as that is known without asking it."""
    from dvc.config import ConfigError  # half a second: not for --help
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        with Repo(str(project)) as repo:
            config = repo.config
    except NotDvcRepoError:
        fix = "run `dvc init` (`dvc init --subdir` inside another repository) for `dvc repro`"
        yield Diagnosis("note", "DVC", "is not set up here", fix)
        return
    except ConfigError as error:
        reason = " ".join(str(error).split())
        fix = "correct .dvc/config or .dvc/config.local"
        yield Diagnosis("error", "DVC", f"expected a configuration, but got: {reason}", fix)
        return
    yield from check_remotes(config)


def check_remotes(config: Mapping[str, Any]) -> Iterator[Diagnosis]:
    """Whether there is a default remote, and each remote has its folder or its package.

    Args:
        config: of DVC.
    """
    default = config["core"].get("remote")
    remotes = config["remote"]
    if default is None:
        fix = "share data and models with `dvc remote add -d NAME URL`"
        yield Diagnosis("note", "DVC remote", "none: data and models stay on this machine", fix)
    elif default not in remotes:
        found = f"expected the default remote {default!r} to exist, but got {sorted(remotes)}"
        yield Diagnosis("error", "DVC remote", found, "run `dvc remote default NAME`")
    for name in remotes:
        yield _check_remote(name, config)


def _check_remote(name: str, config: Mapping[str, Any]) -> Diagnosis:
    from dvc.fs import get_cloud_fs

    subject = f"DVC remote {name}"
    url = shown(str(config["remote"][name]["url"]))
    try:
        system, _, path = get_cloud_fs(config, name=name)
    except ImportError as error:  # s3 is supported, but requires 'dvc-s3' to be installed
        package = str(error).partition("'")[2].partition("'")[0]
        return Diagnosis("error", subject, f"{url}: {error}", f"run `pip install {package}`")
    if system.protocol == "local" and not Path(path).parent.is_dir():  # DVC creates the folder
        fix = f"mount the disk, or run `dvc remote modify {name} url FOLDER`"
        return Diagnosis("error", subject, f"{url}: expected a folder, but there is none", fix)
    return Diagnosis("ok", subject, url)


def check_tracking() -> Iterator[Diagnosis]:
    """Whether MLflow's store can be used, whether it is up to date, and where its files are."""
    uri = tracking_uri()
    path = database_path(uri)
    try:
        check_store(uri)
        if path is not None and not path.exists():
            yield Diagnosis("note", "MLflow", f"{path}: no runs yet", "train a model")
            return
        from maskmill.tracking.doctor import find_problems  # MLflow takes seconds

        problems = find_problems()
    except (ValueError, OSError) as error:
        found, _, fix = str(error).rpartition(" - ")
        yield Diagnosis("error", "MLflow", found, fix)
        return
    for problem in problems:
        fix = "run `maskmill doctor --fix`"
        yield Diagnosis("error", "MLflow", problem.text, fix, problem.repair)
    missing = [] if path is None or problems else list(missing_artifacts(path))
    yield from missing
    if not problems and not missing:
        yield Diagnosis("ok", "MLflow", shown(uri))


def missing_artifacts(database: Path) -> Iterator[Diagnosis]:
    """Registered versions and experiments whose files are in a folder that does not exist.

    Args:
        database: of MLflow.
    """
    with closing(sqlite3.connect(database)) as connection:
        versions = connection.execute(VERSIONS).fetchall()
        experiments = connection.execute(EXPERIMENTS).fetchall()
    for subject, location in versions:
        folder = local_path(location)
        if folder is not None and not folder.is_dir():
            found = f"{folder}: expected the files of this version, but there is no such folder"
            fix = "copy the folder back, or register the model again"
            yield Diagnosis("error", subject, found, fix)
    for subject, location in experiments:
        folder = local_path(location)
        if folder is not None and not folder.is_dir():
            found = f"{folder}: expected the files of its runs, but there is no such folder"
            fix = "copy the folder back to see their files; new runs create it"
            yield Diagnosis("warning", subject, found, fix)
