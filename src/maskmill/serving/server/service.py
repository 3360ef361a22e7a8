"""Requests to workers: one queue, the fleet in use, and the change to another version."""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge

from maskmill.serving.server.fleet import Fleet
from maskmill.serving.server.jobs import Answer, Job, JobQueue, Size
from maskmill.serving.server.metrics import Metrics
from maskmill.serving.server.refusal import Refusal, unavailable
from maskmill.serving.server.uploads import Limits
from maskmill.serving.server.worker import Load
from maskmill.serving.server.worker_process import WorkerProcess

log = logging.getLogger(__name__)

Resolve = Callable[[], str]  # the folder, or the version that the alias points at now


@dataclass(frozen=True)
class Batching:
    """How requests become batches, and who predicts them.

    Args:
        workers: number of processes, each with its own copy of the model.
        max_batch: images of one size in a batch.
        max_wait_ms: how long an incomplete batch waits for more images while a worker is idle.
        follow_s: seconds between two looks at the alias; 0: the first version is kept.
    """

    workers: Annotated[int, Ge(1)]
    max_batch: Annotated[int, Ge(1)]
    max_wait_ms: Annotated[float, Ge(0)]
    follow_s: Annotated[float, Ge(0)]


class Service:
    """Predicts images in worker processes.

    Args:
        load: loads a model, in a worker process.
        resolve: name of the model to serve: the same for good, or the version behind an alias.
        batching: how requests become batches.
        limits: of requests.
        metrics: receives what happens.
    """

    def __init__(
        self,
        load: Load,
        resolve: Resolve,
        *,
        batching: Batching,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self.load = load
        self.resolve = resolve
        self.batching = batching
        self.limits = limits
        self.metrics = metrics
        self.queue = JobQueue(batching.max_batch, batching.max_wait_ms / 1000)
        self.fleet: Fleet | None = None
        self.is_stopping = False
        self.num_in_flight = 0
        self.num_arriving = 0  # requests whose body is being read: they take memory too
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._refused = ""  # the version that did not load
        self._following: asyncio.Task[None] | None = None

    @property
    def is_healthy(self) -> bool:
        """Do all workers live and have a model?"""
        return not self.is_stopping and self.fleet is not None and self.fleet.is_healthy

    @property
    def is_ready(self) -> bool:
        """Can a request be answered?"""
        has_worker = self.fleet is not None and self.fleet.num_ready > 0
        return has_worker and not self.is_stopping

    def status(self) -> dict[str, Any]:
        """What /health says."""
        workers: list[WorkerProcess] = [] if self.fleet is None else self.fleet.workers
        rows = [{"pid": worker.pid, "ready": worker.is_ready} for worker in workers]
        return {
            "healthy": self.is_healthy,
            "ready": self.is_ready,
            "stopping": self.is_stopping,
            "model": "" if self.fleet is None else self.fleet.public_name,
            "fingerprint": "" if self.fleet is None else self.fleet.fingerprint,
            "workers": rows,
            "queue": len(self.queue),
        }

    async def start(self) -> None:
        """Load the model in all workers, and follow its alias.

        Raises:
            ValueError: the registry has no such model, or the model does not load.
            OSError: a file of the model cannot be read, or a worker ended while it loaded.
        """
        name = await asyncio.to_thread(self.resolve)
        fleet = self._new_fleet(name)
        self.fleet = fleet
        await fleet.start()
        log.info("model %s (%s) is served", name, fleet.fingerprint[:12])
        if self.batching.follow_s > 0:
            self._following = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Answer what is in flight, then end the workers."""
        self.is_stopping = True
        if self._following is not None:
            self._following.cancel()
        while self.num_in_flight > 0 and self.fleet is not None and self.fleet.num_ready > 0:
            await asyncio.sleep(0.02)
        if self.fleet is not None:
            await self.fleet.stop()
        for job in self.queue.jobs:
            if job.is_waited_for:
                job.answer.set_exception(unavailable("a server without workers"))

    def require_capacity(self) -> None:
        """Refuse a request that could not be queued, before its body is read.

        Raises:
            Refusal: 503 if no worker can answer, 429 if the queue is full.
        """
        if self.is_stopping:
            raise unavailable("a server that is stopping")
        if not self.is_ready:
            raise unavailable("a server whose workers are starting")
        num_waiting = len(self.queue) + self.num_arriving
        if num_waiting >= self.limits.max_queue:
            raise Refusal(
                429,
                f"{num_waiting} waiting requests",
                expected=f"fewer than {self.limits.max_queue}",
                do="send the request again in a second, or add workers to the server",
                headers={"Retry-After": "1"},
            )

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """Count a request while its body is read.

        Raises:
            Refusal: see `require_capacity`.
        """
        self.require_capacity()
        self.num_arriving += 1
        try:
            yield
        finally:
            self.num_arriving -= 1

    async def predict(self, data: bytes, form: str, size: Size) -> Answer:
        """The answer to one image.

        Raises:
            Refusal: see `require_capacity`; 503 if the worker that had the image ended.
        """
        self.require_capacity()
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.queue.put(Job(next(self._numbers), data, form, size, answer))
        self.num_in_flight += 1
        self.pump()
        try:
            return await answer
        finally:
            self.num_in_flight -= 1

    def pump(self, returned: Sequence[Job] = ()) -> None:
        """Give batches to workers until the queue is empty or every worker is busy.

        An idle worker takes what has waited long enough; behind a batch that it is working on, a
        worker takes a full batch, which it decodes meanwhile.

        Args:
            returned: jobs that a worker had not begun when it ended; they are first in line.
        """
        self.queue.put_back(returned)
        while (worker := self._next_worker()) is not None:
            only_full = len(worker.batches) > 0
            batch = self.queue.take(only_full=only_full, now_s=time.monotonic())
            if not batch:
                break
            self.metrics.batch_size.observe(len(batch))
            worker.submit(batch)
        self._set_timer()

    def _next_worker(self) -> WorkerProcess | None:
        """The worker with the least work, if it can take a batch."""
        if self.fleet is None:
            return None
        able = [worker for worker in self.fleet.workers if worker.can_prefetch]
        return min(able, key=lambda worker: len(worker.batches), default=None)

    def _set_timer(self) -> None:
        """Pump again when the oldest job has waited long enough for others of its size."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wait_s = self.queue.due_in_s(time.monotonic())
        has_idle = self.fleet is not None and any(worker.can_take for worker in self.fleet.workers)
        if wait_s is not None and has_idle:
            self._timer = asyncio.get_running_loop().call_later(wait_s + 1e-4, self.pump)

    async def _follow(self) -> None:
        """Look at the alias from time to time; a registry that does not answer changes nothing."""
        while True:
            await asyncio.sleep(self.batching.follow_s)
            try:
                name = await asyncio.to_thread(self.resolve)
            except Exception as error:  # whatever a registry's client raises
                log.warning("the alias could not be read, the model stays: %s", error)
                continue
            if self.fleet is not None and name not in {self.fleet.name, self._refused}:
                await self._change_to(name)

    async def _change_to(self, name: str) -> None:
        """Load a version beside the present one, switch to it, then end the old workers."""
        new = self._new_fleet(name)
        try:
            await new.start()
        except (ValueError, OSError) as error:
            self._refused = name
            log.error("model %s does not load, the present one stays: %s", name, error)
            return
        old = self.fleet
        self.fleet = new
        log.info("model %s (%s) is served from now on", name, new.fingerprint[:12])
        self.pump()
        if old is not None:
            await old.stop()

    def _new_fleet(self, name: str) -> Fleet:
        timeout_s = self.limits.timeout_s
        return Fleet(self.load, name, self.batching.workers, timeout_s, self.pump)
