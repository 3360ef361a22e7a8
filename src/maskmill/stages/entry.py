"""Makes a function a command: configuration by Hydra, one message for errors of users."""

import atexit
import functools
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from maskmill.assembly.command_end import AT_THE_END
from maskmill.assembly.command_line import check_flags, quote_paths, read_mappings
from maskmill.assembly.conf_search_path import (
    check_project_conf,
    packaged_conf,
    register_search_path,
)
from maskmill.assembly.launched_job import JobError
from maskmill.assembly.override_errors import explain_broken_file, explain_override
from maskmill.assembly.run_mode import prepare_mode
from maskmill.assembly.suggestions import check_top_level
from maskmill.stages.resources import message_of, missing_threads_as_os_errors
from maskmill.training.launching import is_first

log = logging.getLogger(__name__)

FULL_ERROR = "HYDRA_FULL_ERROR"

Main = Callable[[DictConfig], Any]


def stage(main: Main) -> Callable[[], Any]:
    """Make `main(cfg)` a program: `maskmill STAGE`, also `python -m maskmill.stages.STAGE`.

    A ValueError, OSError or MemoryError ends it with its message alone and exit status 1; SIGTERM
    during training ends it with 143, Ctrl+C with 130.
    HYDRA_FULL_ERROR=1 shows the traceback. In a multirun such an error is a `JobError`: the other
    jobs run, and the exit status is 1.
    """
    shows_tracebacks = FULL_ERROR in os.environ

    @functools.wraps(main)
    def guarded(cfg: DictConfig) -> Any:
        if not shows_tracebacks and not _is_multirun():
            os.environ.pop(FULL_ERROR, None)
        try:
            check_top_level(cfg)
            read_mappings(cfg, HydraConfig.get().overrides.task)
            with missing_threads_as_os_errors():
                return main(cfg)
        except InterruptedError as error:
            # SIGTERM: the remaining jobs of a sweep are not started either
            if is_first():
                log.error("%s", error)
            sys.exit(128 + signal.SIGTERM)
        except KeyboardInterrupt as error:
            log.error("%s", str(error) or "interrupted")
            sys.exit(128 + signal.SIGINT)
        except (ValueError, OSError, MemoryError) as error:
            message = _message(error)
            if shows_tracebacks:
                raise
            if _is_multirun():
                raise _job_error(message) from error
            log.error("%s", message)
            log.debug("", exc_info=error)
            sys.exit(1)

    program = hydra.main(version_base="1.3", config_path=str(packaged_conf()), config_name="config")
    decorated: Callable[[], Any] = program(guarded)

    @functools.wraps(main)
    def command() -> Any:
        atexit.register(_leave_garbage)
        sys.meta_path.insert(0, _BeforeOnnx())
        try:
            check_project_conf()
            check_flags(sys.argv[1:])
        except (ValueError, OSError) as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(1)
        is_sweep = bool({"-m", "--multirun", "hydra.mode=MULTIRUN"} & set(sys.argv))
        sys.argv[1:] = quote_paths(sys.argv[1:], is_sweep=is_sweep)
        register_search_path()
        prepare_mode(sys.argv[1:])
        if shows_tracebacks:
            with AT_THE_END:
                return decorated()
        os.environ[FULL_ERROR] = "1"  # Hydra raises its errors, and in a multirun those of jobs
        try:
            with AT_THE_END:
                return decorated()
        except JobError:
            sys.exit(1)
        except KeyboardInterrupt as error:  # while a launcher waits for its jobs
            log.error("%s", str(error) or "interrupted")
            sys.exit(128 + signal.SIGINT)
        except (HydraException, OmegaConfBaseException) as error:
            sys.stderr.write(f"{explain_override(error, sys.argv[1:])}\n")
            sys.exit(1)
        except (YAMLError, UnicodeDecodeError) as error:
            sys.stderr.write(f"{explain_broken_file(error, sys.argv[1:])}\n")
            sys.exit(1)
        finally:
            os.environ.pop(FULL_ERROR, None)

    return command


def _leave_garbage() -> None:
    """Do not search what the process leaves behind for garbage, which takes up to two seconds.

    onnx would report its objects as leaked, so objects that are created after its import are
    searched.
    """
    if "onnx" not in sys.modules:
        gc.freeze()


class _BeforeOnnx(MetaPathFinder):
    """Freezes the objects that exist when onnx is looked for, which its import begins with."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Find nothing, but notice the import."""
        if fullname == "onnx":
            gc.freeze()


def _is_multirun() -> bool:
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def _message(error: Exception) -> str:
    is_of_configuration = isinstance(error, OmegaConfBaseException)
    return explain_override(error) if is_of_configuration else message_of(error)


def _job_error(message: str) -> JobError:
    """Say at once which job failed, and let the others run."""
    job = HydraConfig.get().job
    log.error(
        "job %s (%s) failed: %s - run the same command again to repeat the failed jobs alone",
        job.num,
        job.override_dirname,
        message,
    )
    return JobError(message)
