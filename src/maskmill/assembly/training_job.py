"""The training run: builds the parts that the configuration names, fits them, writes the model."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.trainer.states import TrainerStatus
from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.chosen import run_parameters
from maskmill.assembly.code_digests import code_digests, stage_modules
from maskmill.assembly.composition import stage_configuration
from maskmill.assembly.crop_check import warn_of_small_crops
from maskmill.assembly.hardware import ENVIRONMENT_TAG, environment
from maskmill.assembly.network_loading import described_network
from maskmill.assembly.reference import is_fitted, write_calibrated
from maskmill.assembly.train_settings import TrainSettings
from maskmill.assembly.training_parts import (
    build_datamodule,
    build_task,
    read_dataset,
    require_accelerator,
    resolved,
    training_config,
)
from maskmill.assembly.training_trial import TrainingTrial
from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import RGB
from maskmill.data.datamodule import SegmentationDataModule
from maskmill.data.splits import open_split
from maskmill.evaluation.learning_curves import HISTORY, copy_history
from maskmill.reporting.drawing import draw_example_row
from maskmill.serving.model_files import ModelFiles, copy_model, read_model, write_model
from maskmill.tracking.lineage import MODEL_TAG, WEIGHTS_TAG
from maskmill.tracking.origin import record_origin
from maskmill.tracking.run_logger import RunLogger
from maskmill.tracking.runs import Tracking, flatten, log_inputs, origin_of
from maskmill.training.callbacks import EpochLines, StepSeed
from maskmill.training.checkpoint_files import (
    AtomicCheckpointIO,
    find_checkpoint,
    find_damage,
)
from maskmill.training.checkpoints import best_score
from maskmill.training.context import RunContext, attach
from maskmill.training.failures import explained
from maskmill.training.finite_loss import FiniteLoss
from maskmill.training.history import History
from maskmill.training.launching import INTERRUPTED
from maskmill.training.progress import Bar, Lines
from maskmill.training.resume_state import TrainingState, training_fingerprint
from maskmill.training.silenced_warnings import quiet_lightning
from maskmill.training.step_log import StepLog

log = logging.getLogger(__name__)

UNCALIBRATED = "uncalibrated"  # folder of the state
NETWORK = "network."  # prefix of the network's weights in the checkpoint of a task


def fit(cfg: DictConfig) -> float:
    """Train what the configuration describes, or resume the run if it was killed before.

    Args:
        cfg: composed; the groups of the train stage.

    Returns:
        the best validation score, a fraction.

    Raises:
        ValueError: the configuration or the data cannot be used, or another process is training the
            same run.
        InterruptedError: SIGTERM was received; the checkpoint is written.
    """
    quiet_lightning()
    return TrainingJob(cfg).run()


class TrainingJob:
    """One training run; its methods stand in the order in which they run.

    Args:
        cfg: composed; the groups of the train stage.

    Raises:
        FileNotFoundError: there is no prepared data set.
        ValueError: the configuration or the data cannot be used.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self.settings = build(cfg.train, TrainSettings)
        self.dataset = read_dataset(self.settings.data)
        require_accelerator(cfg.trainer.get("accelerator", "auto"))
        self.categories = Categories.from_list(self.dataset["categories"])
        self.config = training_config(cfg)
        self.untracked = {key: resolved(cfg[key]) for key in ("tracking", "train")}
        parts = [*self.config.values(), *self.untracked.values()]
        self.history = History()
        self.code = code_digests(stage_modules("train", parts))
        self.state = TrainingState(self.settings.state, self._fingerprint())
        self.trial = TrainingTrial()

    def run(self) -> float:
        """Train, or reuse a finished run with this fingerprint, and return the best score."""
        finished = finished_model(self.state) if self.settings.once else None
        if finished is not None and is_fitted(finished, self.settings):
            return self._reuse(finished)
        seed_everything(self.cfg.seed, workers=True, verbose=False)
        datamodule = build_datamodule(self.cfg)
        task = build_task(self.cfg, self.categories)
        trainer = self.build_trainer()  # before the run: a wrong value leaves none behind
        warn_of_small_crops(datamodule.crop_size, self.dataset)
        with self._locked(), self.tracked() as run_id:
            self.log_to(run_id, trainer)
            self._fit(trainer, task, datamodule)
            score = best_score(trainer)
            if trainer.is_global_zero and self.trial.was_pruned:
                self.trial.end_early(trainer, self.state)
            elif trainer.is_global_zero:
                self._finish(self._write(trainer), score)
        return score

    def _fingerprint(self) -> str:
        return training_fingerprint(self.config, self.dataset["digest"], self.code)

    def _reuse(self, model: ModelFiles) -> float:
        is_copied = model.folder.resolve() != self.settings.out.resolve()
        source = f"copied from {model.folder} -> " if is_copied else "in "
        log.info("this run is finished: its model is %s%s", source, self.settings.out)
        if rank() == 0:
            copy_model(model, self.settings.out)
            copy_history(model.folder, self.settings.out)
            self.trial.measure(model, self.settings.data)
        return float(cast(dict[str, Any], self.state.finished)["score"])

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the state folder, on rank 0 alone, and describe there what it belongs to."""
        if rank() != 0:
            yield
            return
        with self.state.locked():
            inputs = flatten(self.config) | {"data": self.dataset["digest"]}
            out = None if self.settings.once else self.settings.out
            self.state.describe(inputs, out)
            yield

    @contextmanager
    def tracked(self) -> Iterator[str]:
        """Keep the MLflow run open while rank 0 trains.

        Yields:
            the id of the run; empty on the other ranks.
        """
        if rank() != 0:
            yield ""
            return
        tags = {
            "data_hash": self.dataset["digest"],
            "seed": str(self.cfg.seed),
            "maskmill.training": self.state.fingerprint,
            ENVIRONMENT_TAG: json.dumps(environment()),
        }
        tracking = build(self.cfg.tracking, Tracking)
        dead = self.state.abandoned_run_ids()
        with tracking.run(self.state.run_id, tags, dead=dead) as run_id:
            self.state.run_id = run_id
            self.origin = origin_of(run_id)
            stage = stage_configuration(self.config | self.untracked, self.code)
            named = (tracking.choices, tracking.params)
            params = run_parameters(self.config, flatten(self.config), *named)
            self.note = log_inputs(params, self.dataset, stage)
            yield run_id

    def build_trainer(self) -> Trainer:
        """The Trainer with its callbacks."""
        on_terminal = sys.stderr.isatty()
        self.callbacks: list[Callback] = [
            StepSeed(self.cfg.seed),
            FiniteLoss(folder=self.state.folder),
            *[build(node, Callback) for node in self.cfg.callbacks.values()],
            StepLog(),
            self.history,
            Bar() if on_terminal else Lines(),
            EpochLines(),
            *self.trial.callbacks,
        ]
        return build(
            self.cfg.trainer,
            Trainer,
            callbacks=self.callbacks,
            logger=False,
            plugins=_plugins(),
            enable_progress_bar=on_terminal,
        )

    def log_to(self, run_id: str, trainer: Trainer) -> None:
        """Let metrics and example pictures go to the MLflow run; empty on the other ranks."""
        logger = RunLogger(run_id or None)
        trainer.logger = logger

        def show(image: RGB, target: Panoptic, pred: Panoptic, name: str, step: int) -> None:
            logger.log_image(draw_example_row(image, target, pred, self.categories), name, step)

        attach(self.callbacks, RunContext(self.state.folder, logger.flush, show))

    def _fit(self, trainer: Trainer, task: LightningModule, data: SegmentationDataModule) -> None:
        checkpoint = find_checkpoint(self.state.folder, set_aside=rank() == 0)
        if checkpoint is not None and rank() == 0:
            log.info("resuming from %s", checkpoint)
        # weights_only: a checkpoint holds tensors and numbers, and must not be able to hold more
        path = str(checkpoint) if checkpoint else None
        with explained():
            trainer.fit(task, data, ckpt_path=path, weights_only=True)
        if trainer.state.status != TrainerStatus.FINISHED:
            raise KeyboardInterrupt(INTERRUPTED)

    def _write(self, trainer: Trainer) -> ModelFiles:
        """Write the network's weights at its best validation score, and tag the run with them."""
        path = getattr(trainer.checkpoint_callback, "best_model_path", "")
        if not path:
            raise ValueError(
                "Expected a checkpoint after training, but got none - let `trainer` validate once"
            )
        damage = find_damage(Path(path))
        if damage is not None:
            raise ValueError(
                f"{path}: expected the best weights of the training, but {damage} - give the same "
                "command to train again"
            )
        weights = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
        own = dict[str, torch.Tensor]()
        for key, value in weights.items():
            if key.startswith(NETWORK):
                own[key.removeprefix(NETWORK)] = value
        network = described_network(self.config["network"], trainer.lightning_module.network)
        config = self.config | {"network": network}
        parts = (own, config, self.categories, self.dataset["digest"])
        if self.settings.calibrate:
            draft = write_model(self.state.folder / UNCALIBRATED, *parts)
            train = open_split(self.settings.data, "train")
            val = open_split(self.settings.data, "val")
            device = str(trainer.strategy.root_device)
            model = write_calibrated(draft, train, val, self.settings, device=device)
        else:
            model = write_model(self.settings.out, *parts)
        self.history.write(self.settings.out / HISTORY)
        digest = model.weights_digest()
        logger = cast(RunLogger, trainer.logger)
        logger.set_tags({MODEL_TAG: model.fingerprint, WEIGHTS_TAG: digest})
        record_origin(model.fingerprint, self.origin)
        best, score = str(trainer.lightning_module.monitor), best_score(trainer)
        logger.log_best(best, score, self.note)
        result = f"best {best} {score:.4f}, weights {digest}, model {model.fingerprint[:12]}"
        log.info("%s -> %s (curves and pictures: maskmill ui)", result, self.settings.out)
        return model

    def _finish(self, model: ModelFiles, score: float) -> None:
        """Delete the state; in a sweep all but the result, so that the job is not run again."""
        self.trial.measure(model, self.settings.data)
        if not self.settings.once:
            self.state.delete()
            return
        result = {"model": str(self.settings.out), "fingerprint": model.fingerprint, "score": score}
        self.state.finish(result)


def finished_model(state: TrainingState) -> ModelFiles | None:
    """The model of a finished run, if it is still there, byte for byte."""
    if state.finished is None:
        return None
    try:
        model = read_model(Path(state.finished["model"]))
    except (FileNotFoundError, ValueError):
        return None
    return model if model.fingerprint == state.finished["fingerprint"] else None


def _plugins() -> list[Any]:
    if not SLURMEnvironment.detect():
        return [AtomicCheckpointIO()]
    # Lightning would write a second kind of checkpoint at a signal, prefer it, and requeue the job.
    return [AtomicCheckpointIO(), SLURMEnvironment(auto_requeue=False)]


def rank() -> int:
    """The rank of this process, as Lightning sees it before and after its start."""
    return int(getattr(rank_zero_only, "rank", 0))
