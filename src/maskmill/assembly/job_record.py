"""How each job of a sweep ended: job.json in the folder of the job, out/sweeps/<name>/<job>/."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from maskmill.canonical.files import read_json, write_json

JOB_FILE = "job.json"


@dataclass(frozen=True)
class JobRecord:
    """The content of job.json.

    Args:
        job: number of the job.
        overrides: all of its overrides.
        own: those that it does not share with the other jobs.
        status: FINISHED, FAILED or PRUNED.
        metric: name of the score.
        score: what the job returned; None if it failed.
        error: why it failed.
        choices: group -> chosen file.
    """

    job: int
    overrides: list[str]
    own: list[str]
    status: str
    metric: str
    score: float | None = None
    error: str | None = None
    choices: dict[str, Any] = field(default_factory=dict)


def write_job(folder: Path, record: JobRecord) -> None:
    """Write or replace the record of a job in its own folder."""
    write_json(folder / JOB_FILE, asdict(record))


def read_jobs(folder: Path) -> list[JobRecord]:
    """The jobs of a sweep that have ended, by number."""
    records = []
    for path in folder.glob(f"*/{JOB_FILE}"):
        records.append(JobRecord(**read_json(path)))
    return sorted(records, key=lambda record: record.job)
