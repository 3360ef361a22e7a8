"""The training itself: builds the parts, fits them, writes the model. `python -m maskmill.assembly.training_job FOLDER` is one rank of several."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.trainer.states import TrainerStatus
from omegaconf import DictConfig, OmegaConf
from torch import nn

from maskmill.assembly.build import build
from maskmill.assembly.settings import TrainSettings
from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import RGB
from maskmill.data.datamodule import SegmentationDataModule
from maskmill.data.stores import load_json, open_store
from maskmill.data.transforms import Augmentation
from maskmill.reporting.drawing import overlay
from maskmill.serving.model_files import ModelFiles, copy_model, read_model, write_model
from maskmill.tracking.lineage import MODEL_TAG, WEIGHTS_TAG
from maskmill.tracking.run_logger import RunLogger
from maskmill.tracking.runs import Tracking, flatten, log_inputs
from maskmill.tracking.store import connect
from maskmill.training.callbacks import EpochLines, StepSeed
from maskmill.training.checkpoints import WholeFiles
from maskmill.training.finite_loss import FiniteLoss
from maskmill.training.progress import Bar, Lines
from maskmill.training.state import TrainingState, training_fingerprint
from maskmill.training.step_log import StepLog

log = logging.getLogger(__name__)

# Said by Lightning about what we do on purpose, or about its own code. (Our metrics have merged all processes when they are logged.)
SILENCED = (
    r".*Checkpoint directory .* exists and is not empty",
    r".*treespec, LeafSpec",
    r".*smaller than the logging interval",
    r"It is recommended to use `self.log.*sync_dist",
    r"You're using the WeightAveraging callback with a model that overrides",  # training.averaging refuses what this warns of
    r".*FSDP2-wrapped module .* returned a view tensor",  # no loss or post-processing writes into a network's outputs
)


def fit(cfg: DictConfig) -> float:
    """Train what the configuration describes, going on where an earlier, killed start of the same training stopped.

    Args:
        cfg: composed; the groups of the train stage.

    Returns:
        the best validation score.

    Raises:
        ValueError: the configuration, the data, or another process training the same stands in the way.
    """
    quiet_lightning()
    settings = build(cfg.train, TrainSettings)
    dataset = read_dataset(settings.data)
    categories = Categories.from_list(dataset["categories"])
    config = training_config(cfg)
    seed_everything(cfg.seed, workers=True, verbose=False)
    datamodule = build(
        cfg.data, SegmentationDataModule, augmentation=build(cfg.augment, Augmentation)
    )
    task = build_task(cfg, categories)
    state = TrainingState(settings.state, training_fingerprint(config, dataset["digest"]))
    if settings.once and (done := finished_model(state)):
        log.info(
            "this very training is done: its model is copied from %s -> %s",
            done.folder,
            settings.out,
        )
        if rank() == 0:
            copy_model(done, settings.out)
        return float(cast(dict[str, Any], state.finished)["score"])
    with tracked(
        build(cfg.tracking, Tracking), state, config, dataset, compare=not settings.once
    ) as run_id:
        trainer = build_trainer(cfg, task, categories, state, run_id)
        if state.last_checkpoint:
            log.info("going on from %s", state.last_checkpoint)
        # weights_only: a checkpoint holds tensors and numbers, and must not be able to hold more
        trainer.fit(
            task,
            datamodule,
            ckpt_path=str(state.last_checkpoint) if state.last_checkpoint else None,
            weights_only=True,
        )
        if trainer.state.status != TrainerStatus.FINISHED:
            raise KeyboardInterrupt(
                "training was interrupted; the same command goes on from the last checkpoint"
            )
        best = getattr(trainer.checkpoint_callback, "best_model_score", None)
        score = float("nan") if best is None else float(best)
        if trainer.is_global_zero:
            model = write_best(trainer, settings.out, config, categories, dataset["digest"])
            connect().set_tag(run_id, MODEL_TAG, model.fingerprint)
            connect().set_tag(run_id, WEIGHTS_TAG, model.weights_digest())
            log.info(
                "weights %s, model %s -> %s",
                model.weights_digest(),
                model.fingerprint[:12],
                settings.out,
            )
    if trainer.is_global_zero and settings.once:
        state.finish({"model": str(settings.out), "fingerprint": model.fingerprint, "score": score})
    elif trainer.is_global_zero:
        state.delete()
    return score


def finished_model(state: TrainingState) -> ModelFiles | None:
    """The model of a training that was done before, where it is still there, byte for byte."""
    if state.finished is None:
        return None
    try:
        model = read_model(Path(state.finished["model"]))
    except (FileNotFoundError, ValueError):
        return None
    return model if model.fingerprint == state.finished["fingerprint"] else None


def read_dataset(root: str) -> dict[str, Any]:
    """The description that `prepare` and `shard` write last.

    Raises:
        FileNotFoundError: there is no prepared data set.
        ValueError: an earlier version wrote it.
    """
    store = open_store(root)
    if not store.has("dataset.json"):
        raise FileNotFoundError(
            f"{root}: expected a prepared data set (dataset.json), but there is none - run `maskmill prepare` first"
        )
    dataset = cast(dict[str, Any], load_json(store, "dataset.json"))
    missing = {"source", "categories", "problems", "findings", "digest"} - set(dataset)
    if missing:
        raise ValueError(
            f"{root}: expected a data set of this version, but its dataset.json lacks {sorted(missing)} - prepare it again"
        )
    return dataset


def training_config(cfg: DictConfig) -> dict[str, Any]:
    """What decides the result of a training: the configuration without the places it writes to and the way it is tracked."""
    resolved = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    parts = (
        "seed",
        "data",
        "augment",
        "network",
        "task",
        "loss",
        "optimizer",
        "scheduler",
        "trainer",
        "callbacks",
    )
    return {key: resolved[key] for key in parts}


def build_task(cfg: DictConfig, categories: Categories) -> LightningModule:
    """The task with network, loss, post-processing and optimiser of the configuration."""
    return build(
        cfg.task,
        LightningModule,
        network=build(cfg.network, nn.Module, num_classes=categories.num_outputs),
        loss=build(cfg.loss, nn.Module),
        postprocess=build(cfg.task.postprocess, object, categories=categories),
        categories=categories,
        optimizer=build(cfg.optimizer, object),
        scheduler=build(cfg.scheduler, object),
    )


def build_trainer(
    cfg: DictConfig,
    task: LightningModule,
    categories: Categories,
    state: TrainingState,
    run_id: str,
) -> Trainer:
    """The Trainer with its callbacks; example pictures go to the MLflow run."""

    def show(image: RGB, truth: Panoptic, prediction: Panoptic, name: str) -> None:
        views = [image, *(overlay(image, labels, categories) for labels in (truth, prediction))]
        connect().log_image(run_id, np.concatenate(views, axis=1), artifact_file=f"pictures/{name}")

    logger = RunLogger(run_id or None)
    runtime: dict[str, dict[str, Any]] = {
        "checkpoint": {"dirpath": str(state.folder), "monitor": task.monitor},
        "resume": {"folder": state.folder, "before_saving": logger.flush},
        "early_stopping": {"monitor": task.monitor},
        "pictures": {"show": show},
    }
    callbacks = [
        build(node, Callback, **runtime.get(str(name), {})) for name, node in cfg.callbacks.items()
    ]
    on_terminal = sys.stderr.isatty()
    plugins: list[Any] = [WholeFiles()]
    if SLURMEnvironment.detect():  # its own signals would save a second kind of checkpoint, which Lightning prefers to ours, and requeue
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return build(
        cfg.trainer,
        Trainer,
        callbacks=[
            StepSeed(cfg.seed),
            FiniteLoss(folder=state.folder),
            *callbacks,
            StepLog(),
            Bar() if on_terminal else Lines(),
            EpochLines(),
        ],
        logger=logger,
        plugins=plugins,
        enable_progress_bar=on_terminal,
    )


@contextmanager
def tracked(
    tracking: Tracking,
    state: TrainingState,
    config: dict[str, Any],
    dataset: dict[str, Any],
    *,
    compare: bool,
) -> Iterator[str]:
    """Hold the state and keep the MLflow run open while rank 0 trains; the other ranks have neither.

    Yields:
        the run's id; empty on the other ranks.
    """
    if rank() != 0:
        yield ""
        return
    tags = {
        "data_hash": dataset["digest"],
        "seed": str(config["seed"]),
        "maskmill.training": state.fingerprint,
    }
    with state.held():
        state.describe(flatten(config) | {"data": dataset["digest"]}, compare=compare)
        with tracking.run(state.run_id, tags) as run_id:
            if state.run_id != run_id:
                log_inputs(config, dataset)
                state.run_id = run_id
            yield run_id


def write_best(
    trainer: Trainer, out: Path, config: dict[str, Any], categories: Categories, data_digest: str
) -> ModelFiles:
    """Write the network's weights at its best validation score."""
    path = getattr(trainer.checkpoint_callback, "best_model_path", "")
    if not path:
        raise ValueError(
            "Expected a checkpoint after training, but none was written - let `trainer` validate at least once"
        )
    weights = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    own = {
        key.removeprefix("network."): value
        for key, value in weights.items()
        if key.startswith("network.")
    }
    return write_model(out, own, config, categories, data_digest)


def quiet_lightning() -> None:
    """Keep its notices about devices and products out of the log; warnings stay, but for those above."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for pattern in SILENCED:
        warnings.filterwarnings("ignore", message=pattern)


def rank() -> int:
    """The rank of this process, as Lightning sees it before and after its start."""
    return int(getattr(rank_zero_only, "rank", 0))
