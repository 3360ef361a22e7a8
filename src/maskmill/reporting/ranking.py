"""The jobs of a sweep in the order of their scores."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field

from maskmill.reporting.pages import format_percent

MAX_ROWS = 10  # of the table in a description, which MLflow folds
MAX_VALUES = 6  # of a parameter that a description lists
MAX_STATUS = 80  # characters of a line on the terminal, where each error has been reported already


@dataclass(frozen=True)
class RankedJob:
    """A job of a sweep.

    Args:
        job: its number.
        params: what it does not share with the other jobs, key -> text of the value.
        status: FINISHED, FAILED, PRUNED or MISSING.
        score: of the metric; None if it has none.
        error: why it failed.
        run: id of its MLflow run; None if it is not known.
        curve: (epoch, score) of each validation.
    """

    job: int
    params: dict[str, str]
    status: str
    score: float | None = None
    error: str | None = None
    run: str | None = None
    curve: list[tuple[float, float]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its parameters as overrides, or its number."""
        settings = [f"{key}={value}" for key, value in self.params.items()]
        return " ".join(settings) or f"job {self.job}"


@dataclass(frozen=True)
class Ranking:
    """The jobs of a sweep, the best first.

    Args:
        sweep: its name.
        metric: name of the score, as val/PQ.
        jobs: in the order of their scores, then those that have none.
        maximise: whether the largest score is the best.
    """

    sweep: str
    metric: str
    jobs: list[RankedJob]
    maximise: bool = True

    @classmethod
    def of(
        cls, sweep: str, metric: str, jobs: Sequence[RankedJob], *, maximise: bool = True
    ) -> "Ranking":
        """Order the jobs; equal scores stay in the order of the jobs."""
        sign = -1 if maximise else 1

        def order(job: RankedJob) -> tuple[bool, float, int]:
            score = math.inf if job.score is None else sign * job.score
            return job.status != "FINISHED", score, job.job

        return cls(sweep, metric, sorted(jobs, key=order), maximise)

    @property
    def best(self) -> RankedJob | None:
        """The first job that finished with a score."""
        first = self.jobs[0] if self.jobs else None
        return first if first and first.status == "FINISHED" and first.score is not None else None

    @property
    def params(self) -> list[str]:
        """The names of all parameters, in the order in which they were given."""
        names: dict[str, None] = {}
        for job in self.jobs:
            names |= dict.fromkeys(job.params)
        return list(names)

    def counts(self) -> str:
        """How many jobs ended how, as "6 finished, 2 failed"."""
        found: dict[str, int] = {}
        for job in self.jobs:
            found[job.status] = found.get(job.status, 0) + 1
        return ", ".join(f"{number} {status.lower()}" for status, number in found.items())

    def format(self, score: float | None) -> str:
        """A score for readers: percent for the scores of a validation."""
        if score is None:
            return "-"
        return f"{format_percent(score)} %" if self.is_fraction else f"{score:.4g}"

    @property
    def is_fraction(self) -> bool:
        """Is the metric a score of the validation?"""
        return self.metric.startswith("val/")

    def rows(self) -> list[list[str]]:
        """The table: rank, job, score, parameters, status; its head first."""
        head = ["rank", "job", self.metric, *self.params, "status"]
        rows = [head]
        for rank, job in enumerate(self.jobs, start=1):
            values = [job.params.get(name, "-") for name in self.params]
            status = job.status.lower() + (f": {job.error}" if job.error else "")
            rows.append([str(rank), str(job.job), self.format(job.score), *values, status])
        return rows

    def text(self) -> str:
        """The table for a terminal."""
        rows = self.rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = []
        for row in rows:
            cells = [cell.rjust(width) for cell, width in zip(row[:-1], widths, strict=False)]
            status = textwrap.shorten(row[-1], MAX_STATUS, placeholder=" ...")
            lines.append("  ".join([*cells, status]))
        return "\n".join(lines)

    def markdown(self) -> str:
        """The result and the first rows of the table, for the page of an MLflow run."""
        head, *rows = self.rows()
        lines = [self.summary(), "", _markdown_row(head), _markdown_row(["---"] * len(head))]
        for row in rows[:MAX_ROWS]:
            lines.append(_markdown_row(row))
        if len(rows) > MAX_ROWS:
            lines += ["", f"and {len(rows) - MAX_ROWS} more jobs"]
        return "\n".join(lines)

    def summary(self) -> str:
        """What was varied, and the best setting, in two sentences."""
        varied = " and ".join(map(self._varied, self.params)) or "nothing"
        text = f"{len(self.jobs)} jobs ({self.counts()}) that vary {varied}."
        best = self.best
        if best is None:
            return text
        return f"Best {self.metric}: {self.format(best.score)} by {best.name}. {text}"

    def _varied(self, name: str) -> str:
        values = dict.fromkeys(job.params[name] for job in self.jobs if name in job.params)
        if len(values) > MAX_VALUES:
            return f"{name} ({len(values)} values)"
        return f"{name} ({', '.join(values)})"


def _markdown_row(cells: Sequence[str]) -> str:
    escaped = [cell.replace("|", "\\|").replace("\n", " ") for cell in cells]
    return f"| {'&emsp; | '.join(escaped)} |"  # MLflow leaves no space between columns
