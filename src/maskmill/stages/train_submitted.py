"""A job of submitit on this machine, in a process forked from one that has imported this module."""

from hydra.core.plugins import Plugins
from submitit.core.submission import submitit_main as main

# What the pickle of a job names
import hydra_plugins.maskmill_submitit  # noqa: F401
import maskmill.assembly.launched_job  # noqa: F401
import maskmill.stages.train  # noqa: F401

__all__ = ["main"]

Plugins.instance()  # finds them, once for all jobs
