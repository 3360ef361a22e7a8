"""Complete small trainings: drawn splits, a tiny network, the real task and Trainer."""

from dataclasses import dataclass
from functools import partial

import albumentations as A
import pytest
import torch
from lightning import Trainer, seed_everything

from drawn_folders import scene, write_split
from maskmill.data.datamodule import SegmentationDataModule
from maskmill.data.transforms import Augmentation
from maskmill.losses.semantic import CrossEntropy
from maskmill.postprocess.semantic import SemanticSegments
from maskmill.tasks.optimization import poly
from maskmill.tasks.segmentation import SemanticTask
from maskmill.training.callbacks import StepSeed
from maskmill.training.checkpoint_files import AtomicCheckpointIO, find_checkpoint
from maskmill.training.checkpoints import BestCheckpoint, ResumeCheckpoint
from maskmill.training.context import RunContext, attach
from small_trainings import Samples, Tiny
from strategies import CATEGORIES


@pytest.fixture(scope="session")
def splits(tmp_path_factory):
    root = tmp_path_factory.mktemp("splits")
    write_split(root / "train", [scene(seed) for seed in range(10)], images=True)
    write_split(root / "val", [scene(seed) for seed in range(20, 25)], images=True)
    return root


@pytest.fixture(scope="session")
def make_data(splits):
    """The drawn splits as the data module of a training."""

    def make(workers=0, batch_size=2):
        augmentation = Augmentation([A.HorizontalFlip(), A.RandomCrop(16, 16)])
        return SegmentationDataModule(
            str(splits),
            augmentation,
            crop_size=(16, 16),
            batch_size=batch_size,
            num_workers=workers,
            seed=3,
        )

    return make


@pytest.fixture(scope="session")
def make_task():
    """The semantic task with a given network."""

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


@pytest.fixture(scope="session")
def train(make_task, make_data):
    """Train in a folder, from its last checkpoint if there is one: weights at the end, Trainer."""

    def run(
        folder,
        *callbacks,
        workers=0,
        batch_size=2,
        every_n_steps=1,
        resume=None,
        network=Tiny,
        optimizer=None,
        flush=lambda: None,
        show=lambda *_: None,
        **settings,
    ):
        task = make_task(network, optimizer)
        datamodule = make_data(workers, batch_size)
        best = BestCheckpoint(filename="best")
        resume = resume or ResumeCheckpoint(every_n_steps=every_n_steps)
        callbacks = [*callbacks, StepSeed(3), best, resume]
        attach(callbacks, RunContext(folder, flush, show))
        defaults = {
            "max_epochs": 3,
            "accelerator": "cpu",
            "logger": False,
            "enable_progress_bar": False,
            "num_sanity_val_steps": 0,
        }
        trainer = Trainer(
            callbacks=callbacks,
            plugins=AtomicCheckpointIO(),
            enable_model_summary=False,
            deterministic=True,
            use_distributed_sampler=False,
            default_root_dir=folder,
            **defaults | settings,
        )
        checkpoint = find_checkpoint(folder, set_aside=True)
        ckpt_path = str(checkpoint) if checkpoint else None
        trainer.fit(task, datamodule, ckpt_path=ckpt_path, weights_only=True)
        return task.state_dict(), trainer

    return run


@dataclass(frozen=True)
class Finished:
    """The result of a training that nothing interrupted."""

    weights: dict[str, torch.Tensor]
    best_weights: dict[str, torch.Tensor]
    batches: list[list[int]]  # sample indices
    num_steps: int


@pytest.fixture(scope="session")
def uninterrupted(train, tmp_path_factory):
    """An uninterrupted training, run once for each combination of callbacks and settings.

    `make_callback` makes the callback of the training, if it has one; it is part of the key.
    """
    results = {}

    def run(make_callback=None, **settings):
        key = (make_callback, str(sorted(settings.items())))
        if key not in results:
            folder = tmp_path_factory.mktemp("uninterrupted")
            samples = Samples()
            callbacks = [samples] if make_callback is None else [samples, make_callback()]
            weights, trainer = train(folder, *callbacks, **settings)
            best_weights = torch.load(folder / "best.ckpt", weights_only=True)["state_dict"]
            results[key] = Finished(weights, best_weights, samples.batches, trainer.global_step)
        return results[key]

    return run
