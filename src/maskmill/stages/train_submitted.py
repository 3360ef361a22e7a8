"""A job of submitit on this machine, in a process forked from one that has imported this module."""

from submitit.core.submission import submitit_main as main

import maskmill.assembly.launched_job  # noqa: F401 - for the job's pickle
import maskmill.stages.train  # noqa: F401 - for the job's pickle

__all__ = ["main"]
