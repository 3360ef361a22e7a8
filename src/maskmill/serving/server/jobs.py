"""Requests that wait for a worker, and the batches that they form."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

Size = tuple[int, int]  # height and width in px


@dataclass(frozen=True)
class Answer:
    """What is sent back to a client."""

    status: int
    media_type: str
    body: bytes


@dataclass(eq=False)
class Job:
    """One image that a client waits for.

    Args:
        number: identifies the job to its worker.
        data: the bytes of the file.
        form: of the answer.
        size: as its header states it.
        answer: what the client waits for.
    """

    number: int
    data: bytes
    form: str
    size: Size
    answer: asyncio.Future[Answer]
    arrived_s: float = field(default_factory=time.monotonic)

    @property
    def is_waited_for(self) -> bool:
        """Does the client still wait?"""
        return not self.answer.done()


class JobQueue:
    """First come, first served; a batch is the oldest job and the next ones of its size.

    Images are not padded to a common size: no answer depends on other requests.

    Args:
        max_batch: images in a batch.
        max_wait_s: how long an incomplete batch waits for more images of its size.
    """

    def __init__(self, max_batch: int, max_wait_s: float) -> None:
        self.max_batch = max_batch
        self.max_wait_s = max_wait_s
        self.jobs: deque[Job] = deque()

    def __len__(self) -> int:
        return len(self.jobs)

    def put(self, job: Job) -> None:
        """Append a job."""
        self.jobs.append(job)

    def put_back(self, jobs: Sequence[Job]) -> None:
        """Put jobs before all others, in their order."""
        self.jobs.extendleft(reversed(jobs))

    def take(self, *, only_full: bool, now_s: float) -> list[Job]:
        """Remove and return the next batch; empty if there is none yet.

        Args:
            only_full: a smaller batch than `max_batch` stays.
            now_s: `time.monotonic()`.
        """
        while self.jobs and not self.jobs[0].is_waited_for:
            self.jobs.popleft()
        if not self.jobs:
            return []
        oldest = self.jobs[0]
        batch: list[Job] = []
        others: deque[Job] = deque()
        for job in self.jobs:
            fits = len(batch) < self.max_batch and job.size == oldest.size
            (batch if fits else others).append(job)
        is_full = len(batch) == self.max_batch
        is_due = now_s - oldest.arrived_s >= self.max_wait_s
        if is_full or (is_due and not only_full):
            self.jobs = others
            return batch
        return []

    def due_in_s(self, now_s: float) -> float | None:
        """Seconds until the oldest job has waited long enough; None without a job."""
        if not self.jobs:
            return None
        return max(0.0, self.jobs[0].arrived_s + self.max_wait_s - now_s)
