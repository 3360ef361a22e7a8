"""The repository at an earlier commit, in a temporary folder, with the data of that time."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from maskmill.canonical.files import parse_json, read_json, write_text

NUM_SHOWN = 12  # digits of a commit in messages
OWN = ("DVC_ROOT", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID")  # variables of this process alone
LAST_LINES = 8  # of a command that failed


@contextmanager
def worktree(root: Path, commit: str, folder: Path) -> Iterator[Path]:
    """Check out a commit beside the repository.

    Args:
        root: of the project, inside a git repository.
        commit: its hash.
        folder: a new one.

    Yields:
        the folder of the project at that commit.

    Raises:
        ValueError: there is no git repository, or it does not have the commit.
    """
    found = run(["git", "cat-file", "-e", f"{commit}^{{commit}}"], root, check=False)
    if found.returncode:
        raise ValueError(
            f"{root}: expected the commit {commit[:NUM_SHOWN]} that trained the model, but this "
            "repository does not have it - either run `git fetch --all` or reproduce in the "
            "repository where it was made"
        )
    run(["git", "worktree", "add", "--quiet", "--detach", str(folder), commit], root)
    try:
        prefix = run(["git", "rev-parse", "--show-prefix"], root).stdout.strip()
        yield folder / prefix
    finally:
        run(["git", "worktree", "remove", "--force", str(folder)], root, check=False)


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Raise InterruptedError on SIGTERM, so that `worktree` and `run` leave nothing behind."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise InterruptedError(
            "received SIGTERM: the training was ended and its temporary folder removed - the same "
            "command starts again from the beginning"
        )

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def restore_data(root: Path, project: Path, data: Path, digest: str) -> None:
    """Put a prepared data set into a project: a link to that of `root`, or what DVC restores.

    Args:
        root: of this project.
        project: the same at the commit, see `worktree`.
        data: of the prepared data set, relative to the project.
        digest: of the data that trained the model.

    Raises:
        ValueError: DVC cannot restore the data, or restores other data.
    """
    if _digest(root / data) == digest:
        if not (project / data).exists():  # an absolute path is there already
            (project / data).parent.mkdir(parents=True, exist_ok=True)
            (project / data).symlink_to((root / data).resolve())
        return
    cache = run([sys.executable, "-m", "dvc", "cache", "dir"], root, check=False).stdout.strip()
    if cache:  # the project uses DVC
        write_text(project / ".dvc" / "config.local", f"[cache]\n    dir = {cache}\n")
    done = run([sys.executable, "-m", "dvc", "repro", "prepare"], project, check=False)
    restored = _digest(project / data)
    if restored != digest:
        why = f"they have the digest {restored}" if restored else "there are none"
        lines = (done.stdout + done.stderr).splitlines()[-LAST_LINES:] if done.returncode else []
        raise ValueError(
            "\n".join(
                [
                    f"{data}: expected the data with the digest {digest} that trained the model, "
                    f"but after `dvc repro prepare` at its commit {why} - either run `dvc pull` or "
                    "copy the data of that time to this folder",
                    *lines,
                ]
            )
        )


def _digest(data: Path) -> str | None:
    path = data / "dataset.json"
    return read_json(path).get("digest") if path.is_file() else None


def changed_modules(project: Path, code: Mapping[str, str]) -> list[str]:
    """The modules of maskmill that differ from those that trained.

    Args:
        project: at the commit; it may have maskmill's sources in src/, else the installed ones run.
        code: module -> digest, as the training recorded them.
    """
    program = (
        "import json, sys; from maskmill.assembly.code_digests import code_digests; "
        "print(json.dumps(code_digests(sys.argv[1:])))"
    )
    done = run([sys.executable, "-c", program, *code], project, check=False)
    if done.returncode:  # a module that there is not at this commit
        return [done.stderr.strip().splitlines()[-1]]
    now = parse_json(done.stdout, "the digests of the code")
    return [module for module, digest in code.items() if now.get(module) != digest]


def run(
    command: list[str],
    folder: Path,
    *,
    check: bool = True,
    shown: bool = False,
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program in a project folder, with the sources of that project.

    Args:
        command: the program and its arguments.
        folder: of the project.
        check: raise if it fails.
        shown: whether its output goes to the terminal.
        variables: further environment variables.

    Raises:
        ValueError: it failed, and `check` is set.
    """
    environment = {key: value for key, value in os.environ.items() if key not in OWN}
    programs = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    environment |= {"PATH": programs, **(variables or {})}
    if (folder / "src" / "maskmill").is_dir():
        environment["PYTHONPATH"] = str(folder / "src")
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=not shown, text=True, check=False
        )
    except FileNotFoundError as error:
        raise ValueError(f"Expected the program {command[0]}, but it is not installed") from error
    if done.returncode and check:
        reason = " ".join((done.stderr or "").split())[-1000:]
        raise ValueError(f"{folder}: `{' '.join(command)}` failed: {reason}")
    return done
