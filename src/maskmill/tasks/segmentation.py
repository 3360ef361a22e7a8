"""The three tasks: they learn alike and differ in what judges them."""

from collections.abc import Callable, Sequence
from typing import Any

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
        self.network, self.loss, self.postprocess, self.categories = (
            network,
            loss,
            postprocess,
            categories,
        )
        self.optimizer, self.scheduler = optimizer, scheduler
        self.scores = Scores(categories, segments=self.counts_segments)

    def configure_model(self) -> None:
        """Shard the network where the strategy has a mesh of processes (trainer=fsdp)."""
        if self.device_mesh is not None and not is_sharded(self.network):
            shard(self.network, self.device_mesh["data_parallel"])

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """The loss of a batch and its terms; `training.step_log` logs them now and then."""
        terms: dict[str, Tensor] = self.loss(self.network(batch["image"]), batch)
        return {
            "loss": _total(terms),
            "terms": {name: term.detach() for name, term in terms.items()},
        }

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> list[Prediction]:  # type: ignore[override] # any output may be returned
        """Count a batch; the predictions are returned for callbacks to draw."""
        losses, predictions = list[Tensor](), list[Prediction]()
        alike = len(set(batch["size"])) == 1 and not is_sharded(
            self.network
        )  # sharded processes must call the network equally often
        for part in [batch] if alike else _alone(batch):
            outputs = self.network(part["image"])
            found = self.postprocess(outputs, part["size"])
            losses += [
                _total(self.loss(_one(outputs, place), _one(part, place)))
                for place in range(len(found))
            ]
            predictions += found
        self.scores.update(losses, predictions, batch)
        return predictions

    def on_validation_epoch_end(self) -> None:
        """Log the scores of all images; each process has them all, so none need be gathered again."""
        self.log_dict(self.scores.compute(), prog_bar=False)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimiser and scheduler of the configuration."""
        return configure(
            self.network, self.optimizer, self.scheduler, self.trainer.estimated_stepping_batches
        )


def _alone(batch: dict[str, Any]) -> list[dict[str, Any]]:
    """Each image of a batch without its padding, so that what is found in it does not depend on those beside it."""
    return [
        {
            key: value[..., :height, :width] if isinstance(value, Tensor) else value
            for key, value in _one(batch, place).items()
        }
        for place, (height, width) in enumerate(batch["size"])
    ]


def _one(whole: dict[str, Any], place: int) -> dict[str, Any]:
    """One image of outputs or of a batch, as a batch."""
    return {key: value[place : place + 1] for key, value in whole.items()}


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
