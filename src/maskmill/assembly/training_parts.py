"""The parts of a training run that the configuration names: data set, data, task."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningModule
from omegaconf import DictConfig, OmegaConf
from torch import nn

from maskmill.assembly.build import build
from maskmill.canonical.categories import Categories
from maskmill.canonical.dataset_file import checked_dataset
from maskmill.data.datamodule import SegmentationDataModule
from maskmill.data.stores import load_json, open_store
from maskmill.data.transforms import Augmentation
from maskmill.tasks.segmentation import InstanceTask
from maskmill.training.failures import explained

# The groups that decide the result of a run; the others say where it writes and how it is tracked.
DECISIVE = (
    *("seed", "data", "augment", "network", "task", "loss"),
    *("optimizer", "scheduler", "trainer", "callbacks"),
)


# What training, its log and its model read of dataset.json
REQUIRED = ("source", "splits", "categories", "problems", "findings", "digest")


def read_dataset(root: str) -> dict[str, Any]:
    """The description that `prepare` and `shard` write last.

    Raises:
        FileNotFoundError: there is no prepared data set.
        ValueError: an earlier version wrote it, or a split has no images.
    """
    store = open_store(root)
    if not store.has("dataset.json"):
        raise FileNotFoundError(
            f"{root}: expected a prepared data set (dataset.json), but there is none - run "
            "`maskmill prepare` first, or name the folder of one as `data.root`"
        )
    content = load_json(store, "dataset.json")
    dataset = checked_dataset(content, store.where("dataset.json"), required=REQUIRED)
    _require_images(root, dataset["splits"])
    return dataset


def _require_images(root: str, splits: Mapping[str, Mapping[str, Any]]) -> None:
    for name in ("train", "val"):
        if not splits.get(name, {}).get("num_images"):
            raise ValueError(
                f"{root}: expected images in the splits train and val, but {name} has none "
                f"({splits}) - set the splits of the source and prepare again"
            )


def require_accelerator(accelerator: str) -> None:
    """Find out before the training whether this machine has the device.

    Args:
        accelerator: `trainer.accelerator`.

    Raises:
        ValueError: PyTorch sees no GPU.
    """
    has_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    if accelerator in {"gpu", "cuda", "mps"} and not has_gpu:
        raise ValueError(
            f"trainer.accelerator: expected a GPU for {accelerator!r}, but PyTorch sees none - "
            "either choose trainer=cpu, or check `nvidia-smi` and that the installed torch is a "
            "CUDA build (torch.version.cuda)"
        )


def training_config(cfg: DictConfig) -> dict[str, Any]:
    """What decides the result of a run: the configuration without output locations and tracking."""
    return {key: resolved(cfg[key]) for key in DECISIVE}


def resolved(node: Any) -> Any:
    """A node of the configuration as plain values, its interpolations resolved."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def build_datamodule(cfg: DictConfig) -> SegmentationDataModule:
    """The data with the augmentation of the configuration."""
    augmentation = build(cfg.augment, Augmentation)
    return build(cfg.data, SegmentationDataModule, augmentation=augmentation)


def build_task(cfg: DictConfig, categories: Categories) -> LightningModule:
    """The task with the network, loss, post-processing and optimizer of the configuration.

    Raises:
        ValueError: a part does not fit another or the data, or a value is refused.
    """
    network = build(cfg.network, nn.Module, num_classes=categories.num_outputs)
    task = build(
        cfg.task,
        LightningModule,
        network=network,
        loss=build(cfg.loss, nn.Module),
        postprocess=build(cfg.task.postprocess, object, categories=categories),
        categories=categories,
        optimizer=build(cfg.optimizer, object),
        scheduler=build(cfg.scheduler, object),
    )
    if isinstance(task, InstanceTask):
        _require_things(categories)
    if cfg.data.batch_size == 1:
        try_batch_of_one(network, tuple(cfg.data.crop_size))
    return task


def _require_things(categories: Categories) -> None:
    if not any(category.isthing for category in categories):
        names = ", ".join(category.name for category in categories)
        raise ValueError(
            f"task: expected things (countable categories) in the data set, but {names} are all "
            "stuff - either choose task=semantic (semantic_masks with mask2former and eomt), or "
            "set `isthing` in source.categories and run `maskmill prepare` again"
        )


def try_batch_of_one(network: nn.Module, size: tuple[int, int]) -> None:
    """Run a copy of a network on one image: the network and the random state stay as they are.

    Args:
        network: as it is built.
        size: height and width in px of the image.

    Raises:
        ValueError: batch norm has a single value per channel, after global pooling.
    """
    trial = copy.deepcopy(network).train()
    with torch.no_grad(), torch.random.fork_rng(), explained():
        trial(torch.zeros(1, 3, *size))
