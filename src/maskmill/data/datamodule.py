"""The splits of a prepared data set as loaders of the Trainer."""

from collections.abc import Iterator

import cv2
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from maskmill.data.dataset import Batch, SegmentationDataset, collate
from maskmill.data.sampling import Draw, EvaluationSampler, ShuffledSampler
from maskmill.data.splits import open_split
from maskmill.data.transforms import Augmentation


class ResumableLoader(DataLoader[Batch]):
    """A loader whose state is its place, epoch and batches given; after a resume those are skipped without being read.

    Lightning keeps the state in its checkpoints. The same batches follow, since a sample is a function of (seed, epoch, place) alone.
    """

    sampler: ShuffledSampler
    _given = 0
    _loaded: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override] # a generator, so that workers start when the epoch is set
        epoch, given = self._loaded or (-1, 0)
        self._given, self._loaded = given if epoch == self.sampler.epoch else 0, None
        self.sampler.skip(self._given * (self.batch_size or 1))
        for batch in super().__iter__():
            self._given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch and the batches given in it."""
        return {"epoch": self.sampler.epoch, "batches_given": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Have the next iteration, if it is of that epoch, begin after those batches."""
        self._loaded = state["epoch"], state["batches_given"]


class SegmentationDataModule(LightningDataModule):
    """Train and validation loaders; every process gets its share, and validation counts each image once.

    Args:
        root: what `prepare` wrote: a folder per split; or what `shard` wrote, a folder or s3://BUCKET/PREFIX.
        augmentation: for training.
        crop_size: height and width of a training sample, which the augmentation must end at.
        batch_size: training samples per process and step.
        num_workers: loader processes; 0 loads in the training process. The samples do not depend on it.
        seed: of order and augmentation.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        root: str,
        augmentation: Augmentation,
        *,
        crop_size: tuple[int, int],
        batch_size: int,
        num_workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        if batch_size < 1 or num_workers < 0 or min(crop_size) < 1:
            raise ValueError(
                f"Expected `batch_size` and `crop_size` of at least 1 and `num_workers` of at least 0, "
                f"but got {batch_size}, {tuple(crop_size)} and {num_workers} - mend conf/data"
            )
        self.root, self.augmentation, self.crop_size = root, augmentation, tuple(crop_size)
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled, augmented batches of one size; a last, smaller batch is left out, as batch statistics want."""
        dataset = SegmentationDataset(
            open_split(self.root, "train"), augmentation=self.augmentation, seed=self.seed
        )
        sample = dataset[0]["image"].shape[1:]
        if tuple(sample) != self.crop_size:
            raise ValueError(
                f"Expected the augmentation to end at data.crop_size {self.crop_size}, but it gives {tuple(sample)} - "
                "set both alike, or end the transforms with a crop of ${data.crop_size}"
            )
        rank, world_size = self._place()
        sampler = ShuffledSampler(len(dataset), seed=self.seed, rank=rank, world_size=world_size)
        return self._loader(
            ResumableLoader, dataset, sampler, drop_last=len(sampler) >= self.batch_size
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        """The validation images at their own sizes, with their truth."""
        dataset = SegmentationDataset(open_split(self.root, "val"))
        rank, world_size = self._place()
        return self._loader(
            DataLoader,
            dataset,
            EvaluationSampler(len(dataset), rank=rank, world_size=world_size),
            drop_last=False,
        )

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Move the tensors; the truth that metrics count stays where it is."""
        return {
            key: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
            for key, value in batch.items()
        }

    def _place(self) -> tuple[int, int]:
        """This process among the others: rank, world size."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _loader(
        self,
        kind: type[DataLoader[Batch]],
        dataset: SegmentationDataset,
        sampler: Sampler[Draw],
        *,
        drop_last: bool,
    ) -> DataLoader[Batch]:
        return kind(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            drop_last=drop_last,
            persistent_workers=self.num_workers > 0,
            worker_init_fn=_one_thread,
        )


def _one_thread(_: int) -> None:
    cv2.setNumThreads(
        0
    )  # the workers are the parallelism; OpenCV's own threads would fight them for the cores
