"""Where a training keeps what it needs to go on after being killed: out/state/<fingerprint>/.

It lies outside the stage's outs, which DVC deletes before a rerun, and a changed configuration, data set or source file has another
fingerprint, so nothing resumes that is not the same training.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from filelock import FileLock, Timeout

import maskmill
from maskmill.canonical.files import read_json, write_json, write_text

log = logging.getLogger(__name__)

LAST = "last.ckpt"
INPUTS = "inputs.json"
FINISHED = "finished.json"

# The folders that decide what a training computes.
TRAINING_SOURCES = (
    "canonical",
    "data",
    "networks",
    "losses",
    "postprocess",
    "metrics",
    "tasks",
    "training",
)


def training_fingerprint(config: Mapping[str, Any], data_digest: str) -> str:
    """Name a training by all it depends on: resolved configuration, data and the code it runs.

    Args:
        config: the resolved configuration of the train stage.
        data_digest: of the prepared data set, as in its dataset.json.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.sha256(json.dumps([config, data_digest], sort_keys=True).encode())
    package = Path(maskmill.__file__).parent
    for folder in TRAINING_SOURCES:
        for path in sorted((package / folder).glob("**/*.py")):
            digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:32]


class TrainingState:
    """The folder of one training; hold it open while training.

    Args:
        root: parent of all states.
        fingerprint: of this training.
    """

    def __init__(self, root: Path, fingerprint: str) -> None:
        self.folder = root / fingerprint
        self.fingerprint = fingerprint

    @property
    def last_checkpoint(self) -> Path | None:
        """The checkpoint to go on from, where there is one."""
        path = self.folder / LAST
        return path if path.is_file() else None

    @property
    def run_id(self) -> str | None:
        """The MLflow run that an earlier start of this training opened."""
        path = self.folder / "mlflow_run"
        return path.read_text() if path.is_file() else None

    @run_id.setter
    def run_id(self, value: str) -> None:
        write_text(self.folder / "mlflow_run", value)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep any other process from training into this folder; the lock goes with the process that holds it.

        Raises:
            ValueError: another process is training the same.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / "lock")
        try:
            with lock.acquire(timeout=0):
                for left in self.folder.glob(".*"):  # files whose writing a kill cut short
                    left.unlink()
                yield
        except Timeout as error:
            raise ValueError(
                f"{self.folder}: another process is running this very training - wait for it, or end it and start again to go on from it"
            ) from error

    def describe(self, inputs: Mapping[str, str], *, compare: bool = True) -> None:
        """Keep what the fingerprint was made of, and warn where an unfinished training beside this one differs from it in a few values.

        Args:
            inputs: names and spelled values: the flat configuration and the data's digest.
            compare: warn so; the jobs of a sweep differ on purpose.
        """
        if not (self.folder / INPUTS).is_file():
            for path in (
                sorted(
                    self.folder.parent.glob(f"*/{INPUTS}"), key=lambda path: path.stat().st_mtime
                )[-1:]
                if compare
                else []
            ):
                log.warning(
                    "%s does not go on here, this training starts anew: %s",
                    path.parent,
                    _difference(read_json(path), inputs),
                )
            write_json(self.folder / INPUTS, dict(inputs))

    def delete(self) -> None:
        """Forget it: the training is done and its results are written."""
        shutil.rmtree(self.folder)

    @property
    def finished(self) -> dict[str, Any] | None:
        """What `finish` kept, where the training is done."""
        path = self.folder / FINISHED
        return cast(dict[str, Any], read_json(path)) if path.is_file() else None

    def finish(self, result: Mapping[str, Any]) -> None:
        """Forget it but for its result, so that a sweep started again does not do it again."""
        self.delete()
        write_json(self.folder / FINISHED, dict(result))


def _difference(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What changed, in words."""
    changed = [key for key in sorted({*then, *now}) if then.get(key) != now.get(key)]
    if not changed:
        return "the source code changed"
    shown = [
        f"{key} was {then.get(key, 'absent')}, is {now.get(key, 'absent')}" for key in changed[:5]
    ]
    return "; ".join(shown) + (f"; and {len(changed) - 5} more" if len(changed) > 5 else "")
