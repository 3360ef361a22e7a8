"""A job of submitit on this machine, in a process forked from one that has imported this module."""

import hydra_plugins.hydra_submitit_launcher.submitit_launcher  # noqa: F401 - for the job's pickle
from submitit.core.submission import submitit_main as main

import maskmill.stages.train  # noqa: F401 - for the job's pickle

__all__ = ["main"]
