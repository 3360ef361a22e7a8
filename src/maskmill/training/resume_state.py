"""The files from which a killed run resumes: out/state/<fingerprint>/.

The folder is outside the outs of the stage, which DVC deletes before a rerun. Another
configuration, data set or source file gives another fingerprint, so only the same training resumes.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from maskmill.canonical.files import read_json, write_json, write_text

log = logging.getLogger(__name__)

RUN_ID = "mlflow_run"
INPUTS = "inputs.json"
OUT = "train.out"  # in INPUTS beside the inputs; no result depends on it
FINISHED = "finished.json"
RESULT_KEYS = {"model", "fingerprint", "score"}
MAX_DIFFERENCES = 5
LOOK_S = 1.0  # other trainings hold the lock for a moment, see `abandoned_run_ids`


def training_fingerprint(
    config: Mapping[str, Any],
    data_digest: str,
    code: Mapping[str, str],
) -> str:
    """Digest of everything that a training depends on.

    Args:
        config: the resolved configuration of the train stage.
        data_digest: digest of the prepared data set, as in its dataset.json.
        code: module name -> digest of its source, for each module that the training imports.

    Returns:
        32 hexadecimal digits.
    """
    inputs = json.dumps([config, data_digest, dict(code)], sort_keys=True)
    return hashlib.sha256(inputs.encode()).hexdigest()[:32]


class TrainingState:
    """The resume folder of one training.

    Args:
        root: parent folder of all states.
        fingerprint: fingerprint of this training.
    """

    def __init__(self, root: Path, fingerprint: str) -> None:
        self.folder = root / fingerprint
        self.fingerprint = fingerprint

    @property
    def run_id(self) -> str | None:
        """The MLflow run of this training, if an earlier start has created it."""
        path = self.folder / RUN_ID
        text = path.read_text(errors="replace") if path.is_file() else ""
        if text and not text.isalnum():
            log.warning("%s: expected the id of an MLflow run, but the file is damaged", path)
            return None
        return text or None

    @run_id.setter
    def run_id(self, value: str) -> None:
        write_text(self.folder / RUN_ID, value)

    def abandoned_run_ids(self) -> list[str]:
        """The MLflow runs of the other trainings in the parent folder that no process trains."""
        ids = []
        for path in sorted(self.folder.parent.glob(f"*/{RUN_ID}")):
            other = TrainingState(self.folder.parent, path.parent.name)
            if other.folder == self.folder:
                continue
            with suppress(Timeout), FileLock(other.folder / "lock", timeout=0):
                if other.run_id is not None:
                    ids.append(other.run_id)
        return ids

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder against other processes; the lock is released when this process ends.

        Raises:
            ValueError: another process runs the same training.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / "lock")
        try:
            with lock.acquire(timeout=LOOK_S):
                for partial_file in self.folder.glob(".*"):  # left by a killed process
                    partial_file.unlink()
                yield
        except Timeout as error:
            raise ValueError(
                f"{self.folder}: expected no other process to run this training, but one does - "
                "either wait for it, or end it and start again to resume from its checkpoint"
            ) from error

    def describe(self, inputs: Mapping[str, str], out: Path | None) -> None:
        """Save the inputs of the fingerprint, and warn about an unfinished training with others.

        Only one with the same `out` may be what the user wanted to resume: `train.out=out/try` is
        another training on purpose.

        Args:
            inputs: name -> value as text: the flat configuration and the digest of the data.
            out: folder for the model; None: a job of a sweep, which differs from others on purpose.
        """
        path = self.folder / INPUTS
        if path.is_file():
            return
        if out is not None:
            self._warn_of_another(inputs, str(out))
        write_json(path, {**inputs, OUT: str(out)})

    def _warn_of_another(self, inputs: Mapping[str, str], out: str) -> None:
        others = sorted(self.folder.parent.glob(f"*/{INPUTS}"), key=_modified, reverse=True)
        for other in others:
            before = _read_object(other)
            if before.pop(OUT, out) == out:
                log.warning(
                    "the unfinished training in %s does not match, so this one starts from "
                    "scratch: %s",
                    other.parent,
                    _difference(before, inputs),
                )
                return

    def delete(self) -> None:
        """Delete the folder: the training is finished and its results are written."""
        shutil.rmtree(self.folder)

    @property
    def finished(self) -> dict[str, Any] | None:
        """The result that `finish` saved (`RESULT_KEYS`), if the training is finished."""
        path = self.folder / FINISHED
        result = _read_object(path) if path.is_file() else {}
        return result if result.keys() >= RESULT_KEYS else None

    def finish(self, result: Mapping[str, Any]) -> None:
        """Delete all but the result, so that a restarted sweep does not train again."""
        self.delete()
        write_json(self.folder / FINISHED, dict(result))


def _read_object(path: Path) -> dict[str, Any]:
    """A JSON object; empty, with a warning, if the file is damaged."""
    try:
        content = read_json(path)
    except ValueError as error:
        log.warning("%s - it is ignored", error)
        return {}
    return content if isinstance(content, dict) else {}


def _modified(path: Path) -> float:
    return path.stat().st_mtime


def _difference(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The changed values, as text."""
    if not before:
        return "its inputs are not known"
    changes = []
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            old_value = before.get(key, "absent")
            changes.append(f"{key} was {old_value}, is {now.get(key, 'absent')}")
    if not changes:
        return "the source code changed"
    text = "; ".join(changes[:MAX_DIFFERENCES])
    num_more = len(changes) - MAX_DIFFERENCES
    return f"{text}; and {num_more} more" if num_more > 0 else text
