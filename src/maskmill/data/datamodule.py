"""The training and validation data loaders of a prepared data set."""

from collections.abc import Iterator
from typing import Annotated, Any, cast

import torch
from annotated_types import Ge, Interval
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from maskmill.data.dataset import Batch, SegmentationDataset, collate
from maskmill.data.loader_processes import set_up_loader_process
from maskmill.data.sampling import Draw, EvaluationSampler, ShuffledSampler
from maskmill.data.shared_memory import fitting_workers, tensor_bytes
from maskmill.data.splits import Split, open_split
from maskmill.data.transforms import Augmentation

Side = Annotated[int, Interval(ge=1, le=16_384)]  # px; one such image has 0.8 GB


class ResumableLoader(DataLoader[Batch]):
    """A training loader with a state: the epoch and the number of batches yielded in it.

    Lightning keeps the state in its checkpoints. A resumed epoch skips those batches without
    reading them and yields the same batches after them, since a sample depends only on
    (seed, epoch, index).
    """

    sampler: ShuffledSampler
    _num_yielded = 0
    _resume_from: dict[str, int] | None = None

    # A generator, so that the workers start only after the epoch is set.
    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        state = self._resume_from
        self._resume_from = None
        is_same_epoch = state is not None and state["epoch"] == self.sampler.epoch
        self._num_yielded = state["batches_given"] if state and is_same_epoch else 0
        self.sampler.skip(self._num_yielded * (self.batch_size or 1))
        for batch in super().__iter__():
            self._num_yielded += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch and the number of batches yielded in it."""
        return {"epoch": self.sampler.epoch, "batches_given": self._num_yielded}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Make the next iteration start after those batches, if it is of the same epoch."""
        self._resume_from = state


class SegmentationDataModule(LightningDataModule):
    """The training and validation loaders of a prepared data set.

    Every process loads its share of the images, and validation counts each image exactly once.

    Args:
        root: a folder that `prepare` wrote; or what `shard` wrote, a folder or a URL such as
            s3://BUCKET/FOLDER.
        augmentation: applied to training samples.
        crop_size: height and width in px of a training sample, the size that the augmentation
            must produce.
        batch_size: training samples per process and step.
        num_workers: loader processes; 0 loads in the training process. The samples are the same
            for any number.
        seed: seed of the order and the augmentation.
        area_power: how often an image is seen in an epoch: 0: once; 1: in proportion to its area
            (at least that of a crop), so that all parts of all images are seen alike; 0.5: the
            root of the area. An epoch always has as many samples as there are images.
    """

    def __init__(
        self,
        root: str,
        augmentation: Augmentation,
        *,
        crop_size: tuple[Side, Side],
        batch_size: Annotated[int, Ge(1)],
        num_workers: Annotated[int, Ge(0)],
        seed: int,
        area_power: Annotated[float, Interval(ge=0, le=1)] = 0.0,
    ) -> None:
        super().__init__()
        self.root = root
        self.augmentation = augmentation
        self.crop_size = tuple(crop_size)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.area_power = area_power

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled, augmented batches of one size.

        A last, smaller batch is dropped, because batch statistics need full batches.

        Raises:
            ValueError: the augmentation does not produce samples of `crop_size`.
        """
        dataset = SegmentationDataset(
            open_split(self.root, "train"), augmentation=self.augmentation, seed=self.seed
        )
        size = tuple(dataset[0]["image"].shape[1:])
        if size != self.crop_size:
            raise ValueError(
                f"Expected an augmentation that produces data.crop_size {self.crop_size}, "
                f"but it produces {size} - "
                "either set both to the same size or end the transforms with a crop of "
                "${data.crop_size}"
            )
        rank, world_size = self._rank_and_world_size()
        weights = self._weights(dataset.split) if self.area_power else None
        sampler = ShuffledSampler(
            len(dataset), seed=self.seed, weights=weights, rank=rank, world_size=world_size
        )
        drop_last = len(sampler) >= self.batch_size
        return self._loader(ResumableLoader, dataset, sampler, drop_last=drop_last)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The validation images at their own sizes, with their ground truth."""
        dataset = SegmentationDataset(open_split(self.root, "val"))
        rank, world_size = self._rank_and_world_size()
        sampler = EvaluationSampler(len(dataset), rank=rank, world_size=world_size)
        return self._loader(DataLoader, dataset, sampler, drop_last=False)

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Move the tensors. The ground truth for metrics stays in memory of the CPU."""
        moved = dict(batch)
        for key, value in batch.items():
            if isinstance(value, Tensor):
                moved[key] = value.to(device, non_blocking=True)
        return cast(Batch, moved)

    def _weights(self, split: Split) -> list[float]:
        """One per image; a smaller image than a crop counts as one crop."""
        crop_px = self.crop_size[0] * self.crop_size[1]
        weights = []
        for index in range(len(split)):
            height, width = split.size(index)
            weights.append(float(max(height * width, crop_px) ** self.area_power))
        return weights

    def _rank_and_world_size(self) -> tuple[int, int]:
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _loader(
        self,
        loader_class: type[DataLoader[Batch]],
        dataset: Dataset[Any],  # of samples, which `collate` turns into batches
        sampler: Sampler[Draw],
        *,
        drop_last: bool,
    ) -> DataLoader[Batch]:
        num_workers = self._num_workers(dataset)
        return loader_class(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=num_workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            drop_last=drop_last,
            persistent_workers=num_workers > 0,
            worker_init_fn=set_up_loader_process,
        )

    def _num_workers(self, dataset: Dataset[Any]) -> int:
        """`num_workers`, or fewer if their batches do not fit into shared memory."""
        if self.num_workers == 0:
            return 0
        batch_bytes = self.batch_size * tensor_bytes(dataset[0])
        num_processes = 1 if self.trainer is None else self.trainer.num_devices
        return fitting_workers(self.num_workers, batch_bytes, num_processes=num_processes)
