"""A sweep of trainings from its start, perhaps its second one, to its end."""

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from omegaconf import DictConfig, OmegaConf, read_write

from maskmill.assembly.build import build
from maskmill.assembly.job_record import read_jobs
from maskmill.assembly.sweep_record import (
    FORKED,
    SUBMITTED,
    SweepRecord,
    SweepSettings,
    read_sweep,
    write_sweep,
)
from maskmill.assembly.sweep_result import rank_jobs, write_result
from maskmill.tracking.abandoned import has_died, this_process
from maskmill.tracking.address import check_store, tracking_uri
from maskmill.tracking.sweeps import close_sweep, describe_sweep, job_runs, open_sweep
from maskmill.training.launching import import_ahead

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sweep:
    """A running sweep.

    Args:
        folder: out/sweeps/<name>.
        record: content of its sweep.json.
    """

    folder: Path
    record: SweepRecord

    @classmethod
    def begin(cls, config: DictConfig) -> "Sweep":
        """Find or make the folder and the MLflow run of a sweep.

        Args:
            config: composed for the sweep, with Hydra's own part. Its `hydra.sweep.dir` is changed
                to the folder of an earlier start of the same command that did not finish.

        Raises:
            ValueError: the store cannot be used, or another command made the sweep of this name.
        """
        check_store(tracking_uri())
        is_local = config.hydra.launcher.get("cluster") == "local"  # submitit's jobs are forked too
        import_ahead(FORKED, *([SUBMITTED] if is_local else []))
        command = _command(config)
        folder = Path(config.hydra.sweep.dir)
        if not _is_named(config):
            folder = _unfinished(folder.parent, command) or folder
            _set_folder(config, folder)
        before = read_sweep(folder)
        if before is not None and before.command != command:
            raise ValueError(
                f"{folder}: expected the sweep {' '.join(before.command)}, but got "
                f"{' '.join(command)} - either give the same command, or another sweep.name"
            )
        run = open_sweep(config.tracking.experiment, folder.name, before.run if before else None)
        record = SweepRecord(command, run, "RUNNING", this_process(), _is_maximised(config))
        write_sweep(folder, record)
        log.info("sweep %s -> %s, MLflow run %s", folder.name, folder, run)
        return cls(folder, record)

    def end(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the sweep, whether it finished or an exception ended it; see `ExitStack.push`."""
        status = self._status(error)
        try:
            children = job_runs(self.record.run)
            ranking = rank_jobs(self.folder, self.record, children)
            if ranking is not None:
                page = write_result(self.folder, ranking)
                best = ranking.best
                describe_sweep(
                    self.record.run,
                    page=page,
                    description=ranking.markdown(),
                    best=best.run if best else None,
                    metric=ranking.metric,
                    score=best.score if best else None,
                )
            close_sweep(self.record.run, status)
        except (ValueError, OSError) as problem:
            log.error("sweep %s: %s", self.folder.name, problem)
        write_sweep(self.folder, dataclasses.replace(self.record, status=status))

    def _status(self, error: BaseException | None) -> str:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            return "KILLED"
        has_failed = any(job.status == "FAILED" for job in read_jobs(self.folder))
        return "FAILED" if error is not None or has_failed else "FINISHED"


def _command(config: DictConfig) -> list[str]:
    """What is swept: overrides of the configuration, and those of the command line."""
    swept = config.hydra.sweeper.get("params") or {}
    own = [f"{key}={value}" for key, value in swept.items()]
    # An interpolation is different in each job: the text itself is what is swept.
    given = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    assert isinstance(given, list)
    return own + [str(override) for override in given]


def _is_named(config: DictConfig) -> bool:
    """Did the user name the sweep, or its folder?"""
    is_chosen = not OmegaConf.is_interpolation(config.sweep, "name")
    settings = build(config.sweep, SweepSettings)
    return is_chosen or Path(config.hydra.sweep.dir).name != settings.name


def _is_maximised(config: DictConfig) -> bool:
    """Is the largest score the best? Optuna's `direction`, or the first of several, may differ."""
    direction = config.hydra.sweeper.get("direction") or "maximize"
    first = direction if isinstance(direction, str) else direction[0]
    return first != "minimize"


def _unfinished(parent: Path, command: list[str]) -> Path | None:
    """The latest sweep that this command began, did not finish, and no longer runs."""
    for path in sorted(parent.glob("*/"), reverse=True):
        record = read_sweep(path)
        if record is None or record.command != command or record.status == "FINISHED":
            continue
        if record.status != "RUNNING" or has_died(record.process):
            return path
    return None


def _set_folder(config: DictConfig, folder: Path) -> None:
    """Let this process and the jobs, which compose the configuration again, use the folder."""
    with read_write(config.hydra):
        config.hydra.sweep.dir = str(folder)
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{folder}'")
