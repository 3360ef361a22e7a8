"""A training of a sweep, in a process forked from one that has imported this module.

What each of the forked processes would otherwise load itself is loaded here, once for all.
That saves about a second of each job on a quiet machine.
"""

import git  # noqa: F401 - MLflow asks it for the commit when a run starts
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 - MLflow imports it with the first run
from lightning_utilities.core.imports import module_available

import maskmill.networks.decoders  # noqa: F401 - of most networks
from maskmill.assembly.code_digests import code_digests, stage_modules
from maskmill.stages.train_worker import main

__all__ = ["main"]

for package in ("adlfs", "gcsfs", "s3fs"):
    module_available(package)  # Lightning asks before its first checkpoint, and keeps the answer
code_digests(stage_modules("train", []))  # keeps what it read, of the same time as the imports
