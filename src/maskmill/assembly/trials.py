"""A few trial steps of a configured training that leave no run, state or checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning import Callback, Trainer, seed_everything
from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.train_settings import TrainSettings
from maskmill.assembly.training_parts import build_datamodule, build_task, read_dataset
from maskmill.canonical.categories import Categories
from maskmill.data.datamodule import SegmentationDataModule
from maskmill.data.splits import open_split
from maskmill.tasks.segmentation import SegmentationTask
from maskmill.training.callbacks import StepSeed
from maskmill.training.silenced_warnings import quiet_lightning
from maskmill.training.trial import belongs_in_trial


@dataclass(frozen=True)
class Trial:
    """The configured task and data, and Trainers for a few steps of them.

    Args:
        cfg: composed; the groups of the train stage.

    Raises:
        FileNotFoundError: there is no prepared data set.
        ValueError: the configuration cannot be used, or asks for several processes.
    """

    cfg: DictConfig

    def __post_init__(self) -> None:
        quiet_lightning()
        devices = self.cfg.trainer.get("devices")
        num_nodes = self.cfg.trainer.get("num_nodes", 1)
        if devices != 1 or num_nodes != 1:
            raise ValueError(
                "Expected one device, since the result holds for each process, "
                f"but got trainer.devices={devices} and trainer.num_nodes={num_nodes} - "
                "set trainer=gpu or trainer=cpu, and for a learning rate "
                "trainer.accumulate_grad_batches to the number of processes"
            )
        seed_everything(self.cfg.seed, workers=True, verbose=False)

    def task(self) -> SegmentationTask:
        """The configured task with new weights."""
        dataset = read_dataset(build(self.cfg.train, TrainSettings).data)
        task = build_task(self.cfg, Categories.from_list(dataset["categories"]))
        assert isinstance(task, SegmentationTask)
        return task

    def datamodule(self) -> SegmentationDataModule:
        """The configured data."""
        return build_datamodule(self.cfg)

    def num_images(self) -> int:
        """Number of images in the training split."""
        return len(open_split(str(self.cfg.data.root), "train"))

    def device(self) -> torch.device:
        """The device of the training."""
        return self.trainer([], 1).strategy.root_device

    def trainer(self, callbacks: Sequence[Callback], max_steps: int) -> Trainer:
        """A Trainer for some steps, with the configured callbacks that change a step."""
        configured = [build(node, Callback) for node in self.cfg.callbacks.values()]
        kept = [callback for callback in configured if belongs_in_trial(callback)]
        return build(
            self.cfg.trainer,
            Trainer,
            max_epochs=-1,
            max_steps=max_steps,
            callbacks=[StepSeed(self.cfg.seed), *kept, *callbacks],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            limit_val_batches=0,
        )


def output_folder(cfg: DictConfig) -> Path:
    """`tune.out`, or in a multirun the job's own folder: jobs must not overwrite each other."""
    hydra_cfg = HydraConfig.get()
    if hydra_cfg.mode == RunMode.MULTIRUN:
        return Path(hydra_cfg.runtime.output_dir) / "tune"
    return Path(cfg.tune.out)
