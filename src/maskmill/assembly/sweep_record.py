"""What a sweep is: sweep.json in its folder, out/sweeps/<name>/, where its jobs find it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from maskmill.canonical.files import read_json, write_json
from maskmill.tracking.sweep_tags import job_tags

SWEEP_FILE = "sweep.json"
# Modules that a sweep's process imports, from which its trainings and its jobs are forked
FORKED = "maskmill.stages.train_forked"
SUBMITTED = "maskmill.stages.train_submitted"


@dataclass(frozen=True)
class SweepSettings:
    """Which sweep a multirun belongs to.

    Args:
        name: its folder in out/sweeps.
    """

    name: str


@dataclass(frozen=True)
class SweepRecord:
    """The content of sweep.json.

    Args:
        command: the overrides of the command line and the configuration, with what they sweep.
        run: id of the MLflow run of the sweep.
        status: RUNNING, FINISHED, FAILED or KILLED, as in MLflow.
        process: the process that sweeps, see `tracking.abandoned.this_process`.
        maximise: whether the largest score is the best.
    """

    command: list[str]
    run: str
    status: str
    process: str
    maximise: bool = True

    def own_overrides(self, overrides: Sequence[str]) -> list[str]:
        """Those of the overrides of a job that it does not share with the other jobs."""
        fixed = set()
        for override in parse(self.command):
            if not override.is_sweep_override():
                fixed.add(override.get_key_element())
        own = []
        for override in parse(overrides):
            if override.get_key_element() not in fixed:
                own.append(str(override.input_line))
        return own


def parse(overrides: Sequence[str]) -> list[Override]:
    """Overrides by Hydra's grammar."""
    parsed: list[Override] = OverridesParser.create().parse_overrides(list(overrides))
    return parsed


def read_sweep(folder: Path) -> SweepRecord | None:
    """The record of a sweep; None if the folder is not that of a sweep."""
    path = folder / SWEEP_FILE
    return SweepRecord(**read_json(path)) if path.is_file() else None


def write_sweep(folder: Path, record: SweepRecord) -> None:
    """Write or replace the record of a sweep."""
    write_json(folder / SWEEP_FILE, asdict(record))


def job_tracking(hydra_cfg: DictConfig, tracking: DictConfig) -> dict[str, Any]:
    """How the run of a job differs from other runs: its name, and tags that lead to its sweep.

    Args:
        hydra_cfg: Hydra's own configuration of the job.
        tracking: the group `tracking`.
    """
    folder = Path(hydra_cfg.sweep.dir)
    sweep = read_sweep(folder)
    if sweep is None:
        return {}
    name = " ".join(sweep.own_overrides(hydra_cfg.overrides.task)) or tracking.run_name
    tags = job_tags(folder.name, hydra_cfg.job.num, sweep.run)
    return {"run_name": name, "tags": {**(tracking.get("tags") or {}), **tags}}
