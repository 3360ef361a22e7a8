"""The three tasks: they learn alike and differ in what judges them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from maskmill.canonical.categories import Categories
from maskmill.postprocess.prediction import Prediction
from maskmill.tasks.optimization import OptimizerOf, SchedulerOf, configure
from maskmill.tasks.scores import Scores
from maskmill.tasks.sharding import is_sharded, shard

Postprocess = Callable[[dict[str, Tensor], Sequence[tuple[int, int]]], list[Prediction]]


class SegmentationTask(LightningModule):
    """Trains a network; its kinds below name the score that chooses checkpoints.

    Args:
        network: images (B, 3, H, W) uint8 to outputs at that size.
        loss: outputs and batch to named, weighted terms.
        postprocess: outputs and image sizes to predictions.
        categories: the data set's table.
        optimizer: parameter groups to optimiser.
        scheduler: optimiser and `total_steps` to scheduler, which moves every step.
    """

    monitor: str
    counts_segments = True

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        *,
        postprocess: Postprocess,
        categories: Categories,
        optimizer: OptimizerOf,
        scheduler: SchedulerOf,
    ) -> None:
        super().__init__()
        self.network, self.loss, self.postprocess, self.categories = network, loss, postprocess, categories
        self.optimizer, self.scheduler = optimizer, scheduler
        self.scores = Scores(categories, segments=self.counts_segments)

    def configure_model(self) -> None:
        """Shard the network where the strategy has a mesh of processes (trainer=fsdp)."""
        if self.device_mesh is not None and not is_sharded(self.network):
            shard(self.network, self.device_mesh["data_parallel"])

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """The loss of a batch and its terms; `training.step_log` logs them now and then."""
        terms: dict[str, Tensor] = self.loss(self.network(batch["image"]), batch)
        return {"loss": _total(terms), "terms": {name: term.detach() for name, term in terms.items()}}

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> list[Prediction]:  # type: ignore[override] # any output may be returned
        """Count a batch; the predictions are returned for callbacks to draw."""
        outputs = self.network(batch["image"])
        predictions = self.postprocess(outputs, batch["size"])
        self.scores.update([self._loss_of(outputs, batch, place) for place in range(len(predictions))], predictions, batch)
        return predictions

    def _loss_of(self, outputs: dict[str, Tensor], batch: dict[str, Any], place: int) -> Tensor:
        """The loss of one image apart, at the same random points as any other's: a function of the image, not of its batch or process."""
        one_output, one_batch = ({key: value[place : place + 1] for key, value in whole.items()} for whole in (outputs, batch))
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(0)
            return _total(self.loss(one_output, one_batch))

    def on_validation_epoch_end(self) -> None:
        """Log the scores of all images; each process has them all, so none need be gathered again."""
        self.log_dict(self.scores.compute(), prog_bar=False)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimiser and scheduler of the configuration."""
        return configure(self.network, self.optimizer, self.scheduler, self.trainer.estimated_stepping_batches)


def _total(terms: dict[str, Tensor]) -> Tensor:
    return sum(terms.values(), start=next(iter(terms.values())).new_zeros(()))


class SemanticTask(SegmentationTask):
    """A class for every pixel."""

    monitor = "val/mIoU"
    counts_segments = False


class InstanceTask(SegmentationTask):
    """Each countable object apart."""

    monitor = "val/PQ/thing"


class PanopticTask(SegmentationTask):
    """Every pixel a class, every thing an id of its own."""

    monitor = "val/PQ"
