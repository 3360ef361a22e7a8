"""Canonical data set -> model, trained in this process or in others that it starts."""

import tempfile
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from maskmill.assembly.chosen import keep_choices
from maskmill.assembly.combinations import check_combination
from maskmill.assembly.lean_imports import import_torchmetrics
from maskmill.assembly.lean_mlflow import import_mlflow
from maskmill.assembly.rare_collection import rare_collection
from maskmill.assembly.sweep_record import FORKED, job_tracking, parse
from maskmill.canonical.files import read_json
from maskmill.canonical.yaml_file import write_yaml
from maskmill.stages.entry import stage
from maskmill.tracking.address import check_store, tracking_uri
from maskmill.training.launching import is_launched, run_forked, run_worker

WORKER = "maskmill.stages.train_worker"


@stage
def main(cfg: DictConfig) -> float:
    """Train and return the best score, which a sweeper may maximise."""
    hydra_cfg = HydraConfig.get()
    changed = parse(hydra_cfg.overrides.task)
    keep_choices(cfg, hydra_cfg.runtime.choices, [value.key_or_group for value in changed])
    is_job = hydra_cfg.mode == RunMode.MULTIRUN
    if is_job:  # a model and a run of its own, and nothing to do if it is finished
        cfg.train.out = str(Path(hydra_cfg.runtime.output_dir) / "train")
        cfg.train.once = True
        with open_dict(cfg):
            cfg.tracking.update(job_tracking(hydra_cfg, cfg.tracking))
    check_combination(cfg, hydra_cfg.runtime.choices)
    check_store(tracking_uri())
    if is_launched() or (cfg.trainer.devices == 1 and not is_job):
        with rare_collection():  # torch takes seconds to import, and the launcher needs none
            import_torchmetrics()
            import_mlflow()
            from maskmill.assembly.training_job import fit

        return fit(cfg)
    return _fit_in_processes(cfg)


def _fit_in_processes(cfg: DictConfig) -> float:
    with tempfile.TemporaryDirectory(prefix="maskmill-") as name:
        folder = Path(name)
        write_yaml(folder / "train.yaml", OmegaConf.to_container(cfg, resolve=True))
        try:
            if cfg.trainer.devices == 1:
                run_forked(FORKED, folder)
            else:
                run_worker(WORKER, folder)
        except ValueError as error:
            raise _explained(folder / "result.json", error) from error
        return float(read_json(folder / "result.json")["best_score"])


def _explained(result: Path, error: ValueError) -> ValueError:
    """The error of the process with rank 0, if it could write one."""
    return ValueError(read_json(result)["error"]) if result.is_file() else error


if __name__ == "__main__":
    main()
