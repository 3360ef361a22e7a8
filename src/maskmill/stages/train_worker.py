"""One of several training processes: `python -m maskmill.stages.train_worker FOLDER`."""

import logging
import os
import signal
import sys
from pathlib import Path

from omegaconf import OmegaConf

from maskmill.assembly.lean_imports import import_torchmetrics
from maskmill.canonical.files import write_json
from maskmill.canonical.yaml_file import read_yaml
from maskmill.stages.resources import message_of, missing_threads_as_os_errors
from maskmill.training.launching import EXIT_SIGINT, EXIT_SIGTERM, die_with_parent

# Ctrl+C during the imports, which take seconds, ends the process without a traceback.
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import_torchmetrics()

import torch  # noqa: E402 - the next module imports Lightning, and that all of torchmetrics

from maskmill.assembly.training_job import fit, rank  # noqa: E402

log = logging.getLogger(__name__)


def main() -> None:
    """Train from FOLDER/train.yaml; rank 0 writes FOLDER/result.json: `best_score` or `error`."""
    die_with_parent()
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning ends in order then
    _use_configured_threads()
    level = logging.INFO if rank() == 0 else logging.WARNING
    form = "[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"
    logging.basicConfig(level=level, format=form, stream=sys.stdout)
    folder = Path(sys.argv[1])
    try:
        with missing_threads_as_os_errors():
            score = fit(OmegaConf.create(read_yaml(folder / "train.yaml")))
    except InterruptedError as error:
        log.info("%s", error)
        sys.exit(EXIT_SIGTERM)
    except KeyboardInterrupt:  # the command that started this process reports it
        sys.exit(EXIT_SIGINT)
    except (ValueError, OSError, MemoryError) as error:
        message = message_of(error)
        if rank() == 0:  # the command that started this process reports it
            write_json(folder / "result.json", {"error": message})
        else:
            log.error("%s", message)
        sys.exit(1)
    if rank() == 0:
        write_json(folder / "result.json", {"best_score": score})


def _use_configured_threads() -> None:
    """Follow OMP_NUM_THREADS, which torch has read earlier if this process was forked."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit():
        torch.set_num_threads(int(threads))


if __name__ == "__main__":
    main()
