"""What makes a function a stage: configuration by Hydra, one clear message for what a user can mend."""

import functools
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

log = logging.getLogger(__name__)

Main = Callable[[DictConfig], Any]


def conf_folder() -> Path:
    """The configuration to compose from: conf/ where the command runs, else the one beside this source tree."""
    here = Path.cwd() / "conf"
    return here if (here / "config.yaml").is_file() else Path(__file__).parents[3] / "conf"


def stage(main: Main) -> Callable[[], Any]:
    """Make `main(cfg)` a program: `maskmill <stage> [overrides]`, also `python -m maskmill.stages.<stage>`.

    A ValueError or OSError ends it with its message alone and exit status 1, SIGTERM in a training likewise with 143; HYDRA_FULL_ERROR=1
    shows where it came from.
    In a multirun errors stay exceptions, so that Hydra reports which job failed.
    """

    @functools.wraps(main)
    def guarded(cfg: DictConfig) -> Any:
        alone = HydraConfig.get().mode == RunMode.RUN and "HYDRA_FULL_ERROR" not in os.environ
        try:
            return main(cfg)
        except (
            InterruptedError
        ) as error:  # told to leave: the other jobs of a sweep are not begun either
            log.error("%s", error)
            sys.exit(128 + signal.SIGTERM)
        except (ValueError, OSError) as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                job = HydraConfig.get().job
                log.error(
                    "job %s (%s) failed: %s - the same command again does what is missing",
                    job.num,
                    job.override_dirname,
                    error,
                )
            if not alone:
                raise
            log.error("%s", error)
            log.debug("", exc_info=error)
            sys.exit(1)

    program: Callable[[], Any] = hydra.main(
        version_base="1.3", config_path=str(conf_folder()), config_name="config"
    )(guarded)
    return program
