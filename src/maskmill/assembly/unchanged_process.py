"""A call from Python that leaves the process as it was.

Commands may change what belongs to the whole process, since theirs ends with them: the current
folder, environment variables, handlers of signals, logging, random numbers, MLflow's address. A
notebook goes on.
"""

import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path

import numpy as np

ONE_AT_A_TIME = threading.RLock()
SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def unchanged_process(project: str | os.PathLike[str] | None = None) -> Iterator[Path]:
    """Run in the folder of a project; calls in other threads wait until this one ends.

    Args:
        project: becomes the current folder until then; None: the current folder.

    Yields:
        the absolute path of the project.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    with ONE_AT_A_TIME, warnings.catch_warnings(), ExitStack() as stack:
        # tqdm misses widgets for its bars in a notebook, where maskmill shows lines.
        warnings.filterwarnings("ignore", message="IProgress not found")
        if project is not None:
            folder = Path(project)
            if not folder.is_dir():
                raise FileNotFoundError(
                    f"{folder}: expected the folder of a project, but there is none - either "
                    "create it with `maskmill new`, or correct `project`"
                )
            stack.enter_context(chdir(folder))
        stack.enter_context(_same_environment())
        stack.enter_context(_same_signal_handlers())
        stack.enter_context(_same_logging())
        stack.enter_context(_same_random_numbers())
        stack.enter_context(_same_tracking_address())
        yield Path.cwd()


@contextmanager
def _same_environment() -> Iterator[None]:
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            os.environ.pop(name, None)
        os.environ.update(before)


@contextmanager
def _same_signal_handlers() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # nothing sets handlers in another thread
        return
    handlers = [(number, signal.getsignal(number)) for number in SIGNALS]
    try:
        yield
    finally:
        for number, handler in handlers:
            if handler is not None:  # one that was not set in Python
                signal.signal(number, handler)


@contextmanager
def _same_logging() -> Iterator[None]:
    """Show our messages on the standard output, as commands do, unless logging is configured."""
    before = []
    for logger in (logging.root, *logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            before.append((logger, logger.level, list(logger.handlers), logger.propagate))
    ours = logging.getLogger("maskmill")
    if not ours.hasHandlers():
        ours.addHandler(logging.StreamHandler(sys.stdout))
        ours.setLevel(logging.INFO)
        before.append((ours, logging.NOTSET, [], True))
    try:
        yield
    finally:
        for logger, level, handlers, propagate in before:
            logger.setLevel(level)
            logger.handlers[:] = handlers
            logger.propagate = propagate


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Keep the generators, and whether torch computes deterministically."""
    python, numpy = random.getstate(), np.random.get_state()
    torch = sys.modules.get("torch")
    mode = 0 if torch is None else torch.get_deterministic_debug_mode()
    fills = True if torch is None else torch.utils.deterministic.fill_uninitialized_memory
    try:
        if torch is None:  # a new one, of which the caller has seen nothing
            yield
        else:
            has_gpu = torch.cuda.is_initialized()
            devices = range(torch.cuda.device_count()) if has_gpu else ()
            with torch.random.fork_rng(devices):
                yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        if "torch" in sys.modules:
            sys.modules["torch"].set_deterministic_debug_mode(mode)
            sys.modules["torch"].utils.deterministic.fill_uninitialized_memory = fills


@contextmanager
def _same_tracking_address() -> Iterator[None]:
    """Keep the address that the caller gave to MLflow, which has it beside its variable."""
    mlflow = sys.modules.get("mlflow")
    is_set = mlflow is not None and mlflow.is_tracking_uri_set()
    before = mlflow.get_tracking_uri() if mlflow is not None and is_set else None
    try:
        yield
    finally:
        if "mlflow" in sys.modules:
            sys.modules["mlflow"].set_tracking_uri(before)
