"""Whole small trainings: drawn splits, a tiny network, the real task and Trainer."""

from functools import partial

import albumentations as A
import pytest
import torch
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from drawn_folders import scene, write_split
from maskmill.data.datamodule import SegmentationDataModule
from maskmill.data.transforms import Augmentation
from maskmill.losses.semantic import CrossEntropy
from maskmill.postprocess.semantic import SemanticSegments
from maskmill.tasks.optimization import poly
from maskmill.tasks.segmentation import SemanticTask
from maskmill.training.callbacks import StepSeed
from maskmill.training.checkpoints import ResumeCheckpoint, WholeFiles
from small_trainings import Tiny
from strategies import CATEGORIES


@pytest.fixture(scope="session")
def splits(tmp_path_factory):
    root = tmp_path_factory.mktemp("splits")
    write_split(root / "train", [scene(seed) for seed in range(10)], images=True)
    write_split(root / "val", [scene(seed) for seed in range(20, 25)], images=True)
    return root


@pytest.fixture
def make_data(splits):
    """The drawn splits as the datamodule of a training."""

    def make(workers=0):
        augmentation = Augmentation([A.HorizontalFlip(), A.RandomCrop(16, 16)])
        return SegmentationDataModule(
            str(splits), augmentation, crop_size=(16, 16), batch_size=2, num_workers=workers, seed=3
        )

    return make


@pytest.fixture
def make_task():
    """The semantic task around a network."""

    def make(network, optimizer=None):
        seed_everything(3, verbose=False)
        return SemanticTask(
            network(),
            CrossEntropy(),
            postprocess=SemanticSegments(categories=CATEGORIES),
            categories=CATEGORIES,
            optimizer=optimizer or partial(torch.optim.AdamW, lr=0.02),
            scheduler=partial(poly, warmup_steps=2),
        )

    return make


@pytest.fixture
def make_trainer(tmp_path):
    """A Trainer for some steps that leaves nothing behind."""

    def make(callbacks, max_steps, **settings):
        return Trainer(
            callbacks=[StepSeed(3), *callbacks],
            max_epochs=-1,
            max_steps=max_steps,
            accelerator="cpu",
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            deterministic=True,
            use_distributed_sampler=False,
            default_root_dir=tmp_path,
            **settings,
        )

    return make


@pytest.fixture
def train(make_task, make_data):
    """Train into a folder, from its last checkpoint where it has one; the weights at the end and the Trainer."""

    def run(
        folder, *callbacks, workers=0, every_n_steps=1, network=Tiny, optimizer=None, **settings
    ):
        task, datamodule = make_task(network, optimizer), make_data(workers)
        best = ModelCheckpoint(
            folder, filename="best", monitor="val/mIoU", mode="max", enable_version_counter=False
        )
        resume = ResumeCheckpoint(folder=folder, every_n_steps=every_n_steps)
        settings = {
            "max_epochs": 3,
            "accelerator": "cpu",
            "logger": False,
            "enable_progress_bar": False,
        } | settings
        trainer = Trainer(
            callbacks=[*callbacks, StepSeed(3), best, resume],
            plugins=WholeFiles(),
            num_sanity_val_steps=0,
            enable_model_summary=False,
            deterministic=True,
            use_distributed_sampler=False,
            default_root_dir=folder,
            **settings,
        )
        last = folder / "last.ckpt"
        trainer.fit(
            task, datamodule, ckpt_path=str(last) if last.is_file() else None, weights_only=True
        )
        return task.state_dict(), trainer

    return run
