"""The parts of a training for a few trial steps that leave nothing behind: no run, no state, no checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning import Callback, Trainer, seed_everything
from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.settings import TrainSettings
from maskmill.assembly.training_job import build_task, quiet_lightning, read_dataset
from maskmill.canonical.categories import Categories
from maskmill.data.datamodule import SegmentationDataModule
from maskmill.data.splits import open_split
from maskmill.data.transforms import Augmentation
from maskmill.tasks.segmentation import SegmentationTask
from maskmill.training.callbacks import StepSeed

# Callbacks that write, watch validation, need a logger, or spread something over a whole training; the others change how a step computes.
BESIDE = {"checkpoint", "resume", "learning_rate", "pictures", "early_stopping", "annealing"}


@dataclass(frozen=True)
class Trial:
    """The configured task and data, and Trainers for a few steps of it.

    Args:
        cfg: composed; the groups of the train stage.

    Raises:
        FileNotFoundError: there is no prepared data set.
        ValueError: the configuration stands in the way, or asks for several processes.
    """

    cfg: DictConfig

    def __post_init__(self) -> None:
        quiet_lightning()
        if self.cfg.trainer.get("devices") != 1 or self.cfg.trainer.get("num_nodes", 1) != 1:
            raise ValueError(
                f"Expected one device, since what is sought holds for each process, but got trainer.devices={self.cfg.trainer.devices} "
                f"and trainer.num_nodes={self.cfg.trainer.get('num_nodes', 1)} - "
                "set trainer=gpu or trainer=cpu, and for a learning rate trainer.accumulate_grad_batches to the number of processes"
            )
        seed_everything(self.cfg.seed, workers=True, verbose=False)

    def task(self) -> SegmentationTask:
        """The configured task with fresh weights."""
        dataset = read_dataset(build(self.cfg.train, TrainSettings).data)
        task = build_task(self.cfg, Categories.from_list(dataset["categories"]))
        assert isinstance(task, SegmentationTask)
        return task

    def datamodule(self) -> SegmentationDataModule:
        """The configured data."""
        return build(
            self.cfg.data,
            SegmentationDataModule,
            augmentation=build(self.cfg.augment, Augmentation),
        )

    def num_images(self) -> int:
        """Of the training split."""
        return len(open_split(str(self.cfg.data.root), "train"))

    def device(self) -> torch.device:
        """The one that is trained on."""
        return self.trainer([], 1).strategy.root_device

    def trainer(self, callbacks: Sequence[Callback], max_steps: int) -> Trainer:
        """A Trainer for some steps of training alone, with the configured callbacks that change how a step computes."""
        configured = [
            build(node, Callback) for name, node in self.cfg.callbacks.items() if name not in BESIDE
        ]
        return build(
            self.cfg.trainer,
            Trainer,
            max_epochs=-1,
            max_steps=max_steps,
            callbacks=[StepSeed(self.cfg.seed), *configured, *callbacks],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            limit_val_batches=0,
        )


def folder_of(cfg: DictConfig) -> Path:
    """Where to write: `tune.out`, or in a multirun the job's own folder, since jobs must not write over each other."""
    hydra_cfg = HydraConfig.get()
    return (
        Path(hydra_cfg.runtime.output_dir) / "tune"
        if hydra_cfg.mode == RunMode.MULTIRUN
        else Path(cfg.tune.out)
    )
