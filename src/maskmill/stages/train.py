"""Canonical data set -> model, trained in this process or in several that it starts."""

import tempfile
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from maskmill.canonical.files import read_json
from maskmill.stages.entry import stage
from maskmill.tracking.address import check_store, tracking_uri
from maskmill.training.launching import is_launched, run_worker


@stage
def main(cfg: DictConfig) -> float:
    """Train and return the best score, which a sweeper may maximise."""
    hydra_cfg = HydraConfig.get()
    if (
        hydra_cfg.mode == RunMode.MULTIRUN
    ):  # each job of a sweep has a model of its own, and a finished one is not repeated
        cfg.train.out = str(Path(hydra_cfg.runtime.output_dir) / "train")
        cfg.train.once = True
    check_store(tracking_uri())
    if cfg.trainer.devices == 1 or is_launched():
        from maskmill.assembly.training_job import (
            fit,  # torch takes seconds to import, and the launcher needs none
        )

        return fit(cfg)
    return _fit_in_processes(cfg)


def _fit_in_processes(cfg: DictConfig) -> float:
    with tempfile.TemporaryDirectory(prefix="maskmill-") as name:
        folder = Path(name)
        OmegaConf.save(cfg, folder / "train.yaml", resolve=True)
        run_worker("maskmill.stages.train_worker", folder)
        return float(read_json(folder / "result.json")["best_score"])


if __name__ == "__main__":
    main()
