"""What `maskmill reproduce` says where a version cannot be trained again."""

import json
import os
import subprocess
import sys

import pytest
from dvc.repo import Repo

from maskmill.assembly.code_digests import code_digests
from maskmill.assembly.hardware import differences, environment
from maskmill.assembly.registry_settings import PromoteSettings, ReproduceSettings, RollbackSettings
from maskmill.assembly.reproduction import reproduce
from maskmill.assembly.worktree import restore_data, worktree
from maskmill.canonical.files import read_json
from maskmill.tracking.lineage import WEIGHTS_TAG
from maskmill.tracking.runs import CONFIG_FILE
from maskmill.tracking.store import experiment_id

LIMITS = "maskmill.canonical.limits"
CODE = code_digests([LIMITS])
CONFIG = {"train": {"data": "out/prepare"}, "code": CODE}


def git(folder, *arguments):
    user = ["-c", "user.name=t", "-c", "user.email=t@t"]
    done = subprocess.run(
        ["git", *user, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path, store):
    """A repository with one commit, beside an MLflow store."""
    (tmp_path / "params.yaml").write_text("set: {}\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "params.yaml")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def register(store, tags, config=CONFIG):
    """A version whose run has these tags, and this configuration among its files."""
    run = store.create_run(experiment_id("maskmill"), tags=tags)
    if config is not None:
        store.log_dict(run.info.run_id, config, CONFIG_FILE)
    store.create_registered_model("street")
    store.create_model_version("street", "somewhere", run_id=run.info.run_id, tags=tags)


def tags_of(repository, **changes):
    commit = git(repository, "rev-parse", "HEAD")
    return {"git_commit": commit, "data_hash": "d" * 64, WEIGHTS_TAG: "w" * 64} | changes


CASES = {
    "a commit that there is not": (
        *({"git_commit": "0" * 40}, CONFIG, "expected the commit 000000000000 that trained"),
        "either run `git fetch --all` or reproduce in the repository where it was made",
    ),
    "a model restored from the cache": (
        *({WEIGHTS_TAG: None}, CONFIG, "restored from DVC's cache"),
        "reproduce it where it was trained",
    ),
    "trained outside of git": ({"git_commit": "unknown"}, CONFIG, "outside of a git repository"),
    "an earlier version of maskmill": (
        *({}, None, "expected config/train.yaml among the files of run"),
        "check out its commit and train there",
    ),
    "other code": (
        *({}, CONFIG | {"code": CODE | {LIMITS: "0" * 12}}, "1 modules differ, first maskmill.c"),
        "another version of maskmill trained it - commit changes before training, or install",
    ),
    "data that are gone": (
        *({}, CONFIG, f"out/prepare: expected the data with the digest {'d' * 64}"),
        *("after `dvc repro prepare` at its commit there are none", "either run `dvc pull`"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_what_is_missing_is_named_and_nothing_is_left(repository, store, case):
    changes, config, *messages = CASES[case]
    tags = tags_of(repository, **changes)
    register(store, {key: value for key, value in tags.items() if value}, config)
    with pytest.raises(ValueError, match=r".") as caught:
        reproduce(ReproduceSettings("models:/street/1", repository / "out" / "reproduce"))
    assert [text for text in messages if text not in str(caught.value)] == []
    assert git(repository, "worktree", "list").count("\n") == 0


@pytest.mark.slow
def test_a_tree_with_uncommitted_changes_is_named(repository, store):
    commit = git(repository, "rev-parse", "HEAD")
    config = CONFIG | {"code": CODE | {LIMITS: "0" * 12}}
    register(store, tags_of(repository, git_commit=f"{commit}+changes"), config)
    with pytest.raises(ValueError, match="the tree had uncommitted changes when it was trained"):
        reproduce(ReproduceSettings("models:/street/1", repository / "out"))


def test_the_prepared_data_of_this_project_are_used_if_their_digest_fits(repository):
    data = repository / "out" / "prepare"
    data.mkdir(parents=True)
    (data / "dataset.json").write_text(json.dumps({"digest": "d" * 64}))
    commit = git(repository, "rev-parse", "HEAD")
    with worktree(repository, commit, repository / "tree") as project:
        relative = data.relative_to(repository)
        restore_data(repository, project, relative, "d" * 64)
        assert (project / relative).resolve() == data
        assert (project / "params.yaml").is_file()


TRAINS_FOR_A_MINUTE = """
import sys
from pathlib import Path
from maskmill.assembly.worktree import interrupted_by_sigterm, run, worktree
child = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
root = Path(sys.argv[1])
with interrupted_by_sigterm(), worktree(root, "HEAD", root / "tree") as project:
    run([sys.executable, "-c", child], project, shown=True)
"""


def test_sigterm_ends_the_training_and_removes_its_folder(repository):
    process = subprocess.Popen(
        [sys.executable, "-c", TRAINS_FOR_A_MINUTE, str(repository)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    child = int(process.stdout.readline())
    assert len(git(repository, "worktree", "list").splitlines()) == 2
    process.terminate()
    _, errors = process.communicate(timeout=30)
    assert "InterruptedError: received SIGTERM" in errors
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert len(git(repository, "worktree", "list").splitlines()) == 1
    assert not (repository / "tree").exists()


@pytest.mark.slow
def test_data_that_were_replaced_come_back_from_the_cache_of_dvc(repository):
    def prepare(digest):
        program = "import os; os.makedirs('out/prepare')"
        write = (
            f"open('out/prepare/dataset.json', 'w').write('{{\\\"digest\\\": \\\"{digest}\\\"}}')"
        )
        stage = f'stages:\n  prepare:\n    cmd: >-\n      python -c "{program}; {write}"\n'
        (repository / "dvc.yaml").write_text(f"{stage}    outs: [out/prepare]\n")
        with Repo(str(repository)) as repo:
            repo.reproduce()
        git(repository, "add", "dvc.yaml", "dvc.lock", ".dvc")
        git(repository, "commit", "--quiet", "-m", digest)
        return git(repository, "rev-parse", "HEAD")

    Repo.init(str(repository)).close()
    commit = prepare("first")
    prepare("second")
    folder = repository.parent / "tree"
    relative = (repository / "out" / "prepare").relative_to(repository)
    with worktree(repository, commit, folder) as project:
        restore_data(repository, project, relative, "first")
        assert read_json(folder / "out" / "prepare" / "dataset.json") == {"digest": "first"}
        with pytest.raises(ValueError, match="they have the digest first - either run `dvc pull`"):
            restore_data(repository, project, relative, "third")


def test_another_machine_or_number_of_threads_is_named():
    now = environment()
    assert {"processor", "threads", "torch"} <= set(now)
    assert differences(now, now) == []
    then = now | {"threads": "96", "gpu": "one"}
    found = differences(then, now)
    assert f"threads 96 then, {now['threads']} now" in found
    assert found[0].startswith("gpu one then, ")


@pytest.mark.parametrize(
    ("settings", "values", "message"),
    [
        (PromoteSettings, ("", "why"), "promote.model: expected a version of the registry, but"),
        (PromoteSettings, ("models:/a/1", " "), "promote.reason: expected why the champion chan"),
        (RollbackSettings, ("a", ""), "rollback.reason: expected why the champion changes, but"),
        (ReproduceSettings, ("out/train", "out"), "write reproduce.model=models:/NAME/3; `mask"),
    ],
)
def test_a_command_of_the_registry_asks_for_what_it_needs(settings, values, message):
    with pytest.raises(ValueError, match=message):
        settings(*values)
