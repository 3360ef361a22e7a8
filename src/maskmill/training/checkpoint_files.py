"""Checkpoint files: whole or absent, checked before they are used, and the one before is kept."""

import logging
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

log = logging.getLogger(__name__)

LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"  # the last one before LAST
SUFFIX = ".ckpt"
UNREADABLE = ".unreadable"  # ending of a checkpoint that was set aside
_BEST_KEYS = ("state_dict", "epoch", "global_step")  # of the best weights
_EXPECTED_KEYS = {"state_dict", "optimizer_states", "loops", "callbacks", "global_step"}


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints that are complete or absent, and keeps the one before the last.

    Lightning's own class writes to the system's temporary folder and then moves the file, which is
    a copy if that folder is on another file system.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,
    ) -> None:
        """Write a file next to the target, then rename it.

        Only the last checkpoint has the state of the optimizer, which is twice as large as the
        weights: no training resumes from the best ones.

        Raises:
            OSError: it cannot be written, because the disk is full for example; earlier
                checkpoints are untouched.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.name != LAST:
            checkpoint = {key: checkpoint[key] for key in _BEST_KEYS}
        new = _write(checkpoint, target)
        if target.name == LAST and target.exists():
            target.replace(target.with_name(PREVIOUS))
        new.replace(target)


def _write(checkpoint: dict[str, Any], target: Path) -> Path:
    """Write to a temporary file beside the target; returns its path."""
    prefix = f".{target.name}."
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=prefix, delete=False) as file:
        temporary = Path(file.name)
        try:
            torch.save(checkpoint, file)
            file.flush()
            # Without fsync, a crash of the machine could leave the new name on an empty file.
            os.fsync(file.fileno())
        except BaseException as error:
            temporary.unlink()
            if isinstance(error, OSError | RuntimeError):  # torch raises both if a write fails
                free_mb = shutil.disk_usage(target.parent).free / 1e6
                raise OSError(
                    f"{target}: expected to write a checkpoint, but got: {error} ({free_mb:.0f} MB "
                    "free) - make space on its disk or set train.state to another one, then give "
                    "the same command: it resumes from the checkpoint before, which is whole"
                ) from error
            raise
    return temporary


def find_checkpoint(folder: Path, *, set_aside: bool) -> Path | None:
    """The newest checkpoint from which the training in `folder` can resume, or None.

    An unusable checkpoint is reported together with what is used instead.

    Args:
        folder: state folder of the training.
        set_aside: rename unusable checkpoints, so that they never replace a usable one. One
            process does this for all.

    Raises:
        PermissionError: a checkpoint may not be read.
    """
    damages: dict[Path, str] = {}
    found = None
    for path in (folder / LAST, folder / PREVIOUS):
        damage = find_resume_damage(path) if path.is_file() else None
        if damage is not None:
            damages[path] = damage
        elif path.is_file():
            found = path
            break
    for path, damage in damages.items():
        if set_aside:
            _set_aside(path, damage, found)
    return found


def _set_aside(path: Path, damage: str, instead: Path | None) -> None:
    kept = path.replace(path.with_name(f"{path.name}{UNREADABLE}"))
    used = (
        "starts from scratch" if instead is None else f"resumes from the one before it, {instead}"
    )
    log.warning(
        "%s: expected a checkpoint to resume from, but %s - the training %s, with the same result; "
        "the file is now %s",
        path,
        damage,
        used,
        kept.name,
    )


def find_resume_damage(path: Path) -> str | None:
    """Why the training cannot resume from a checkpoint; None if it can.

    Besides the file, this checks the files of the best weights that it refers to, because the
    resumed training would write no others if its scores do not rise.
    """
    damage = find_damage(path)
    if damage is not None:
        return damage
    content = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    missing = sorted(_EXPECTED_KEYS - content.keys())
    if missing:
        return f"it lacks {', '.join(missing)}"
    best_names = _best_names(content["callbacks"])
    for name in best_names:
        best = path.with_name(name)
        if best.is_file():
            damage = find_damage(best)
        elif not _has_later_best(path.parent, best_names):
            damage = "it is missing"
        if damage is not None:
            return f"it refers to the best weights in {name}, and {damage}"
    return None


def find_damage(path: Path) -> str | None:
    """What is wrong with a checkpoint file; None if nothing is. Nothing of it is executed.

    torch writes a checksum of each record, but does not compare it when it reads.

    Raises:
        PermissionError: the file may not be read.
    """
    if path.stat().st_size == 0:
        return "it is empty"
    try:
        with zipfile.ZipFile(path) as archive:
            record = archive.testzip()
        if record is not None:
            return f"its record {record} is damaged (wrong checksum)"
        content = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    except PermissionError:
        raise
    except Exception as error:  # noqa: BLE001 - damaged bytes can fail in any way
        reason = str(error).splitlines()[0][:120] if str(error) else ""
        return f"it cannot be read ({type(error).__name__}: {reason})"
    return None if isinstance(content, dict) else "it is not a dictionary"


def _best_names(callbacks: Mapping[str, Any]) -> list[str]:
    names = list[str]()
    for state in callbacks.values():
        paths = state.get("best_k_models", {}) if isinstance(state, Mapping) else {}
        names += [Path(path).name for path in paths]
    return names


def _has_later_best(folder: Path, names: list[str]) -> bool:
    """Are there best weights that a later step wrote? The resumed training repeats that step."""
    known = [folder / name for name in (LAST, PREVIOUS, *names)]
    return bool(set(folder.glob(f"*{SUFFIX}")).difference(known))
