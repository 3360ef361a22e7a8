"""Canonical data set -> model. This program only composes the configuration; `fit` trains, in this process or in several of its own."""

import logging
import tempfile
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from maskmill.canonical.files import read_json
from maskmill.stages.entry import stage
from maskmill.training.launching import is_launched, run_worker

log = logging.getLogger(__name__)


@stage
def main(cfg: DictConfig) -> float:
    """Train and return the best score, which a sweeper may maximise."""
    hydra_cfg = HydraConfig.get()
    if (
        hydra_cfg.mode == RunMode.MULTIRUN
    ):  # the jobs of a sweep must not write over each other's model, nor be done again
        cfg.train.out, cfg.train.once = str(Path(hydra_cfg.runtime.output_dir) / "train"), True
    if cfg.trainer.devices == 1 or is_launched():
        from maskmill.assembly.training_job import fit

        return fit(cfg)
    with tempfile.TemporaryDirectory(prefix="maskmill-") as folder:
        OmegaConf.save(cfg, Path(folder) / "train.yaml", resolve=True)
        run_worker("maskmill.assembly.training_job", Path(folder))
        return float(read_json(Path(folder) / "result.json")["best_score"])


if __name__ == "__main__":
    main()
