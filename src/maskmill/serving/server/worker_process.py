"""A worker as the front sees it: a process, what it is working on, and whether it lives."""

import asyncio
import logging
import multiprocessing
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from maskmill.serving.server.frames import pack, read_frame
from maskmill.serving.server.jobs import Answer, Job
from maskmill.serving.server.refusal import unavailable
from maskmill.serving.server.responses import refusal_answer
from maskmill.serving.server.worker import Load, run_worker

log = logging.getLogger(__name__)

MAX_BATCHES = 2  # in a worker: one in the network, and a full one that is decoded meanwhile
SPAWN = multiprocessing.get_context("spawn")  # a fork would copy the locks of other threads


OnChange = Callable[[Sequence[Job]], None]


class WorkerProcess:
    """Starts a process, sends it batches and receives its answers.

    Args:
        load: loads the model, in the process.
        name: of the model.
        timeout_s: a process that takes longer for a batch is killed.
        on_change: called when the process can take more, or is gone; with the jobs that it had
            and its network had not begun.
    """

    def __init__(self, load: Load, name: str, *, timeout_s: float, on_change: OnChange) -> None:
        self.timeout_s = timeout_s
        self.on_change = on_change
        self.is_ready = False
        self.fingerprint = ""
        self.batches: deque[Sequence[Job]] = deque()  # that the network has not finished
        self.jobs: dict[int, Job] = {}
        self.gone = asyncio.Event()
        self._ours, theirs = socket.socketpair()
        self._theirs: socket.socket | None = theirs
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        arguments = (theirs, load, name)
        self.process = SPAWN.Process(target=run_worker, args=arguments, daemon=True)

    @property
    def pid(self) -> int | None:
        """Of the process; None before it started."""
        return self.process.pid

    async def start(self) -> None:
        """Start the process and wait until its model is loaded.

        Raises:
            ValueError: the model does not load; the message says why.
            ConnectionError: the process ended before.
        """
        await asyncio.to_thread(self.process.start)
        if self._theirs is not None:
            self._theirs.close()
            self._theirs = None
        reader, self._writer = await asyncio.open_connection(sock=self._ours)
        try:
            header, _ = await read_frame(reader)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            await self.stop()
            raise ConnectionError(
                f"expected a worker that loads the model, but it ended with "
                f"{self.process.exitcode} - see its messages above"
            ) from error
        if "failed" in header:
            await self.stop()
            raise ValueError(header["failed"])
        self.fingerprint = header["fingerprint"]
        self.is_ready = True
        self._reading = asyncio.create_task(self._read(reader))

    @property
    def can_take(self) -> bool:
        """Is the network idle?"""
        return self.is_ready and not self.batches

    @property
    def can_prefetch(self) -> bool:
        """Is there room for a batch behind the one in the network?"""
        return self.is_ready and len(self.batches) < MAX_BATCHES

    def submit(self, batch: Sequence[Job]) -> None:
        """Send a batch; its answers arrive in the jobs."""
        assert self._writer is not None, "only a started worker can take batches"
        rows = []
        for job in batch:
            rows.append({"number": job.number, "form": job.form, "num_bytes": len(job.data)})
            self.jobs[job.number] = job
        body = b"".join([job.data for job in batch])
        self.batches.append(batch)
        self._restart_timer()
        self._writer.write(pack({"jobs": rows}, body))

    async def stop(self) -> None:
        """Close the connection, and wait until the process has answered what it has, and ended.

        One that still loads its model is killed.
        """
        was_loaded = self.fingerprint != ""
        self.is_ready = False
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write_eof()  # the answers still come back
        if was_loaded:
            await asyncio.to_thread(self.process.join, self.timeout_s)
        if self.process.is_alive():
            self.process.kill()
            await asyncio.to_thread(self.process.join)
        if self._reading is not None:
            await self._reading
        if self._writer is not None:
            self._writer.close()

    def kill(self) -> None:
        """End the process at once; what it was working on gets a 503."""
        if self.process.is_alive():
            self.process.kill()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                header, body = await read_frame(reader)
                self._receive(header, body)
        except (asyncio.IncompleteReadError, ConnectionError):
            self._lose_jobs()

    def _receive(self, header: dict[str, Any], body: bytes) -> None:
        if "free" in header:
            self.batches.popleft()
            self._restart_timer()
            self.on_change(())
            return
        job = self.jobs.pop(header["job"])
        if not self.jobs:
            self._restart_timer()
        if not job.is_waited_for:
            return
        if "refusal" in header:
            job.answer.set_result(refusal_answer(header["status"], header["refusal"]))
        else:
            job.answer.set_result(Answer(header["status"], header["media_type"], body))

    def _lose_jobs(self) -> None:
        """The process is gone: whoever waits for it is told so, and the rest is given back."""
        self.is_ready = False
        self._cancel_timer()
        not_begun: list[Job] = []
        for batch in list(self.batches)[1:]:
            not_begun += batch
        for job in self.jobs.values():
            if job.is_waited_for and job not in not_begun:
                job.answer.set_exception(unavailable("a worker that ended while it predicted"))
        self.jobs.clear()
        self.batches.clear()
        self.gone.set()
        self.on_change(not_begun)

    def _restart_timer(self) -> None:
        """Kill the process if it neither finishes a batch nor sends the last answer in time."""
        self._cancel_timer()
        if self.jobs:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self.timeout_s, self._time_out)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_out(self) -> None:
        log.error(
            "worker %s: expected an answer within %s s, but got none - it is killed and restarted",
            self.pid,
            self.timeout_s,
        )
        self.kill()
