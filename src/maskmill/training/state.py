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
from typing import Any

from filelock import FileLock, Timeout

import maskmill
from maskmill.canonical.files import write_text

log = logging.getLogger(__name__)

# The folders that decide what a training computes.
TRAINING_SOURCES = ("canonical", "data", "networks", "losses", "postprocess", "metrics", "tasks", "training")


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
        path = self.folder / "last.ckpt"
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
                yield
        except Timeout as error:
            raise ValueError(
                f"{self.folder}: another process is running this very training - wait for it, or end it and start again to go on from it"
            ) from error

    def delete(self) -> None:
        """Forget it: the training is done and its results are written."""
        shutil.rmtree(self.folder)
