"""The workers of one version of a model: started together, restarted one by one."""

import asyncio
import logging
from dataclasses import dataclass, field

from maskmill.serving.server.worker import Load, public_name
from maskmill.serving.server.worker_process import OnChange, WorkerProcess

log = logging.getLogger(__name__)

MAX_DELAY_S = 30.0  # between attempts to restart a worker


@dataclass(eq=False)
class Fleet:
    """Worker processes that all have the same model.

    Args:
        load: loads the model, in each process.
        name: of the model: a folder, or models:/NAME/VERSION.
        num_workers: number of processes.
        timeout_s: a process that takes longer for a batch is killed.
        on_change: called when a worker can take a batch, or is gone with jobs not begun.
    """

    load: Load
    name: str
    num_workers: int
    timeout_s: float
    on_change: OnChange
    workers: list[WorkerProcess] = field(default_factory=list)
    num_restarts: int = 0
    is_stopping: bool = False
    _guards: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def public_name(self) -> str:
        """What clients see of the model's name."""
        return public_name(self.name)

    @property
    def is_healthy(self) -> bool:
        """Do all workers live and have a model?"""
        return self.num_ready == self.num_workers

    @property
    def num_ready(self) -> int:
        """Number of workers that can answer."""
        return sum(worker.is_ready for worker in self.workers)

    @property
    def fingerprint(self) -> str:
        """Of the model; empty until a worker has loaded it."""
        return next((worker.fingerprint for worker in self.workers if worker.fingerprint), "")

    async def start(self) -> None:
        """Start all workers.

        Raises:
            ValueError: the model does not load.
            ConnectionError: a worker ended while it loaded the model.
        """
        self.workers = [self._new_worker() for _ in range(self.num_workers)]
        starts = [worker.start() for worker in self.workers]
        results = await asyncio.gather(*starts, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                await self.stop()
                raise result
        for index in range(self.num_workers):
            self._guards.append(asyncio.create_task(self._guard(index)))
        self.on_change(())

    async def stop(self) -> None:
        """Let each worker finish what it has, and end it."""
        self.is_stopping = True
        for guard in self._guards:
            guard.cancel()
        ends = [worker.stop() for worker in self.workers if worker.pid is not None]
        await asyncio.gather(*ends)

    def _new_worker(self) -> WorkerProcess:
        return WorkerProcess(
            self.load, self.name, timeout_s=self.timeout_s, on_change=self.on_change
        )

    async def _guard(self, index: int) -> None:
        """Restart a worker whenever it is gone."""
        delay_s = 0.0
        while not self.is_stopping:
            await self.workers[index].gone.wait()
            await self.workers[index].stop()
            log.warning(
                "worker %s ended with %s: another one is started",
                self.workers[index].pid,
                self.workers[index].process.exitcode,
            )
            await asyncio.sleep(delay_s)
            delay_s = min(MAX_DELAY_S, 2 * delay_s + 1) if not await self._restart(index) else 0.0

    async def _restart(self, index: int) -> bool:
        self.num_restarts += 1
        worker = self._new_worker()
        self.workers[index] = worker
        try:
            await worker.start()
        except (ValueError, OSError) as error:
            log.error("a worker could not be restarted: %s", error)
            worker.gone.set()
            return False
        self.on_change(())
        return True
