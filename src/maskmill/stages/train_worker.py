"""One of several training processes: `python -m maskmill.stages.train_worker FOLDER`."""

import logging
import sys
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf

from maskmill.assembly.training_job import fit, rank
from maskmill.canonical.files import write_json
from maskmill.training.launching import EXIT_SIGTERM, die_with_parent

log = logging.getLogger(__name__)


def main() -> None:
    """Train from FOLDER/train.yaml; rank 0 writes the best score to FOLDER/result.json."""
    die_with_parent()
    level = logging.INFO if rank() == 0 else logging.WARNING
    form = "[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"
    logging.basicConfig(level=level, format=form, stream=sys.stdout)
    folder = Path(sys.argv[1])
    try:
        score = fit(cast(DictConfig, OmegaConf.load(folder / "train.yaml")))
    except InterruptedError as error:
        log.info("%s", error)
        sys.exit(EXIT_SIGTERM)
    except (ValueError, OSError) as error:
        log.error("%s", error)
        sys.exit(1)
    if rank() == 0:
        write_json(folder / "result.json", {"best_score": score})


if __name__ == "__main__":
    main()
