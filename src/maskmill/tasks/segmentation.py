"""The three tasks: they train alike and differ in the score that selects checkpoints."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypedDict

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn, tensor

from maskmill.canonical.categories import Categories
from maskmill.data.dataset import Batch
from maskmill.postprocess.prediction import Outputs, Prediction
from maskmill.postprocess.torch_network import as_arrays
from maskmill.tasks.fsdp import apply_fsdp, uses_fsdp
from maskmill.tasks.optimization import OptimizerFactory, SchedulerFactory, configure
from maskmill.tasks.scores import Scores, logged_scores

log = logging.getLogger(__name__)

Postprocess = Callable[[Outputs, Sequence[tuple[int, int]]], list[Prediction]]


class StepOutput(TypedDict):
    """The result of a training step.

    Keys:
        loss: scalar with gradient, the sum of the terms.
        terms: name -> detached, weighted scalar.
    """

    loss: Tensor
    terms: dict[str, Tensor]


class SegmentationTask(LightningModule):
    """Trains and validates a network; a subclass names the score that selects checkpoints.

    `monitor` is that score; larger is better. Without a single `monitored_part` in the ground
    truth and the predictions it is undefined.

    Args:
        network: maps images (B, 3, H, W) uint8 to outputs of the same height and width.
        loss: maps outputs and a batch to named, weighted terms.
        postprocess: maps outputs and image sizes to predictions.
        categories: category table of the data set.
        optimizer: maps parameter groups to an optimizer.
        scheduler: maps an optimizer and `total_steps` to a scheduler, which advances every step.
    """

    monitor: str
    monitored_part: str
    counts_segments = True
    _has_warned = False
    _is_checked = False

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        *,
        postprocess: Postprocess,
        categories: Categories,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.postprocess = postprocess
        self.categories = categories
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.scores = Scores(categories, segments=self.counts_segments)

    def configure_model(self) -> None:
        """Apply FSDP to the network if the strategy has a mesh of processes (trainer=fsdp)."""
        if self.device_mesh is not None and not uses_fsdp(self.network):
            apply_fsdp(self.network, self.device_mesh["data_parallel"])

    def training_step(self, batch: Batch, batch_idx: int) -> StepOutput:
        """Compute the loss of a batch; `training.step_log` logs it and its terms."""
        outputs = self.network(batch["image"])
        with self._fitting(outputs, self.loss):
            terms: dict[str, Tensor] = self.loss(outputs, batch)
        total = _total(terms)
        if not self._is_checked:
            _require_all_are_read(outputs, total, self.loss)
            self._is_checked = True
        detached = {name: term.detach() for name, term in terms.items()}
        return {"loss": total, "terms": detached}

    def validation_step(  # type: ignore[override]
        self, batch: Batch, batch_idx: int
    ) -> list[Prediction]:
        """Add a batch to the scores and return its predictions, which callbacks draw."""
        losses = list[Tensor]()
        predictions = list[Prediction]()
        # Under FSDP all processes must call the network equally often, so batches stay whole.
        is_one_size = len(set(batch["size"])) == 1
        chunks = [batch] if is_one_size or uses_fsdp(self.network) else _without_padding(batch)
        for chunk in chunks:
            outputs = self.network(chunk["image"])
            with self._fitting(outputs, self.postprocess):
                chunk_predictions = self.postprocess(as_arrays(outputs), chunk["size"])
            for index in range(len(chunk_predictions)):
                terms = self.loss(_item(outputs, index), _item(chunk, index))
                losses.append(_total(terms))
            predictions += chunk_predictions
        self.scores.update(losses, predictions, batch)
        return predictions

    @contextmanager
    def _fitting(self, outputs: Mapping[str, Tensor], part: object) -> Iterator[None]:
        """Explain a missing output of the network.

        Raises:
            ValueError: `part` is made for another kind of network.
        """
        try:
            yield
        except KeyError as error:
            if error.args[0] in outputs:
                raise
            raise ValueError(
                f"{type(part).__name__}: expected the output {error} of the network, but "
                f"{type(self.network).__name__} gives {', '.join(outputs)} - choose `network`, "
                "`task` and `loss` that go together, see docs/combinations.md"
            ) from error

    def on_validation_epoch_end(self) -> None:
        """Log the scores of all images; each process has them all, so nothing is gathered again.

        An undefined `monitor` is logged as NaN, which callbacks rank below every score. Callbacks
        see all scores, loggers those of `logged_scores`.
        """
        scores = self.scores.compute()
        if self.monitor not in scores:
            scores[self.monitor] = tensor(float("nan"))
            self._warn_undefined()
        logged = logged_scores(scores, self.monitor, len(self.categories))
        self.log_dict(logged, prog_bar=False)
        rest = {name: value for name, value in scores.items() if name not in logged}
        self.log_dict(rest, prog_bar=False, logger=False)

    def _warn_undefined(self) -> None:
        trainer = self.trainer
        if self._has_warned or trainer.sanity_checking or not trainer.is_global_zero:
            return
        self._has_warned = True
        log.warning(
            "%s is undefined: neither the ground truth nor the predictions of the validation "
            "images contain %s. It counts as the worst score, and if it stays undefined, the model "
            "keeps the last weights - check the labels of the val split (`maskmill check`)",
            self.monitor,
            self.monitored_part,
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the configured optimizer and scheduler."""
        total_steps = self.trainer.estimated_stepping_batches
        return configure(self.network, self.optimizer, self.scheduler, total_steps)


def _without_padding(batch: Batch) -> Iterator[dict[str, Any]]:
    """Each image as a batch without padding, so that its prediction is independent of the batch."""
    for index, (height, width) in enumerate(batch["size"]):
        chunk = _item(batch, index)
        for key, value in chunk.items():
            if isinstance(value, Tensor):
                chunk[key] = value[..., :height, :width]
        yield chunk


def _item(values: Mapping[str, Any], index: int) -> dict[str, Any]:
    """One image of outputs or of a batch, as a batch of one."""
    return {key: value[index : index + 1] for key, value in values.items()}


def _total(terms: dict[str, Tensor]) -> Tensor:
    zero = next(iter(terms.values())).new_zeros(())
    return sum(terms.values(), start=zero)


def _require_all_are_read(outputs: Mapping[str, Tensor], total: Tensor, loss: nn.Module) -> None:
    """Refuse a loss that leaves parts of the network untrained.

    Raises:
        ValueError: the total does not depend on an output of the network.
    """
    learned = {name: value for name, value in outputs.items() if value.requires_grad}
    slopes = torch.autograd.grad(
        total, list(learned.values()), retain_graph=True, allow_unused=True
    )
    unread = [name for name, slope in zip(learned, slopes, strict=True) if slope is None]
    if unread:
        raise ValueError(
            f"loss: expected a term for every output of the network, but no term of "
            f"{type(loss).__name__} reads {', '.join(unread)}, whose weights would never be "
            "trained - either choose a loss that reads them or a network without them"
        )


class SemanticTask(SegmentationTask):
    """Semantic segmentation: a class for every pixel."""

    monitor = "val/mIoU"
    monitored_part = "a labelled pixel"
    counts_segments = False


class InstanceTask(SegmentationTask):
    """Instance segmentation: every countable object."""

    monitor = "val/PQ/thing"
    monitored_part = "an object"


class PanopticTask(SegmentationTask):
    """Panoptic segmentation: a class for every pixel and an id for every thing."""

    monitor = "val/PQ"
    monitored_part = "a segment"
