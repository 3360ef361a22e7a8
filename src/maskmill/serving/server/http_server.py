"""The server as a program: uvicorn, and how it starts and stops."""

import asyncio
import logging
import signal
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI

from maskmill.serving.server.service import Service

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 30  # longer than load balancers keep a connection that they do not use for a moment


class _Server(uvicorn.Server):
    """On the first SIGTERM or Ctrl-C, finishes what is in flight and ends with status 0."""

    stopping: asyncio.Event

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, at once if it is the second signal."""
        log.info("received %s", signal.Signals(sig).name)
        if self.stopping.is_set():
            self.force_exit = True
            self.should_exit = True
        self.stopping.set()


def run_server(application: FastAPI, service: Service, *, host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C.

    New requests get a 503 from then on; the process ends when those in flight are answered.

    Args:
        application: with the routes.
        service: behind them; it is started and stopped here.
        host: address to listen on.
        port: to listen on.

    Raises:
        ValueError: the model does not load, or the address is in use.
        OSError: a file of the model cannot be read, or a worker ended while it loaded.
    """
    config = uvicorn.Config(
        application,
        host=host,
        port=port,
        log_config=None,  # the log of the command
        access_log=False,  # /metrics counts; a line per request would be the slowest part
        server_header=False,
        lifespan="off",
        timeout_keep_alive=KEEP_ALIVE_S,
        ws="none",
    )
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_serve(_Server(config), service))


async def _serve(server: _Server, service: Service) -> None:
    server.stopping = asyncio.Event()
    serving = asyncio.create_task(_listen(server))
    starting = asyncio.create_task(service.start())
    stopping = asyncio.create_task(server.stopping.wait())
    tasks = [serving, starting, stopping]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    if starting.done() and starting.exception() is None:
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    starting.cancel()
    await service.stop()
    server.should_exit = True
    with suppress(asyncio.CancelledError):
        await serving
        stopping.cancel()
        await starting  # raises what kept the model from loading


async def _listen(server: _Server) -> None:
    """Serve until the server should exit; a SystemExit would leave the loop with a traceback."""
    try:
        await server.serve()
    except SystemExit as error:  # uvicorn's answer to an address that it cannot use
        address = f"{server.config.host}:{server.config.port}"
        raise ValueError(
            f"{address}: expected a free address of this machine, but it cannot be used - either "
            "stop the program that has it or set serve.port to another"
        ) from error
