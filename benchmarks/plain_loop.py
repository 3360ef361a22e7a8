"""Does the framework cost accuracy? A plain PyTorch loop beside `maskmill train`.

    python benchmarks/plain_loop.py PREPARED [--seeds 0 1 2] [--epochs 15] [--encoder resnet10t]

PREPARED is a semantic or panoptic data set of `maskmill prepare` with splits train, val and test.
Both sides train the U-Net of conf/network with cross-entropy, with the same data, recipe and number
of steps, keep the epoch with the best mIoU on val, and are scored on test: ours by `maskmill
evaluate`, the loop by torchmetrics over the whole split. The loop shares only the reading of the
files with us. Each side has its own random numbers, so the seeds only show the spread of a recipe:
the standard deviations and Welch's t-test say whether the means differ.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import albumentations
import numpy as np
import segmentation_models_pytorch as smp
import timm
import torch
from scipy.stats import ttest_ind
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import MulticlassJaccardIndex

from maskmill.canonical.folder import PanopticFolder

IGNORED = 255
BATCH_SIZE = 8
LEARNING_RATE = 2e-3
CROP_SIZE = (96, 160)
DECODER_CHANNELS = (128, 64, 48, 32, 16)  # as in conf/network/unet.yaml


class Split(Dataset):
    """Images and class masks of a split, all in memory."""

    def __init__(self, folder, transforms):
        split = PanopticFolder(folder)
        self.transforms = transforms
        self.num_classes = len(split.categories)
        category_ids = [category.id for category in split.categories]
        class_of = np.full(max(category_ids) + 2, IGNORED, np.uint8)  # the last is void, -1
        class_of[category_ids] = np.arange(self.num_classes)
        self.images = [split.image(record) for record in split.records]
        self.masks = []
        for record in split.records:
            self.masks.append(class_of[split.panoptic(record.id).category_map()])

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        sample = self.transforms(image=self.images[index], mask=self.masks[index])
        image = torch.from_numpy(sample["image"].transpose(2, 0, 1).copy())  # (3, H, W)
        return image, torch.from_numpy(sample["mask"]).long()


def read_splits(prepared, encoder):
    statistics = timm.data.resolve_model_data_config(timm.create_model(encoder))
    normalize = albumentations.Normalize(statistics["mean"], statistics["std"])
    augment = [
        albumentations.RandomResizedCrop(
            size=CROP_SIZE, scale=(0.4, 1.0), ratio=(1.2, 2.2), mask_interpolation=0
        ),
        albumentations.HorizontalFlip(p=0.5),
        albumentations.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02, p=0.5),
    ]
    train = Split(prepared / "train", albumentations.Compose([*augment, normalize]))
    val = Split(prepared / "val", albumentations.Compose([normalize]))
    test = Split(prepared / "test", albumentations.Compose([normalize]))
    return train, val, test


def mean_iou(model, split):
    """mIoU over the pixels of the whole split, of the classes that occur."""
    metric = MulticlassJaccardIndex(split.num_classes, average="none", ignore_index=IGNORED)
    occurs = torch.zeros(split.num_classes, dtype=torch.bool)
    model.eval()
    with torch.no_grad():
        for image, target in DataLoader(split):
            pred = model(image).argmax(1)
            metric.update(pred, target)
            classes = torch.cat([pred.flatten(), target.flatten()]).unique()
            occurs[classes[classes != IGNORED]] = True
    return metric.compute()[occurs].mean().item()


def train_plain(prepared, encoder, epochs, seed):
    """The usual training loop; mIoU on test of the epoch that was best on val."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    train, val, test = read_splits(prepared, encoder)
    train.transforms.set_random_seed(seed)
    model = smp.Unet(
        f"tu-{encoder}",
        encoder_weights=None,
        classes=train.num_classes,
        decoder_channels=DECODER_CHANNELS,
    )
    loader = DataLoader(train, batch_size=BATCH_SIZE, shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=epochs * len(loader), pct_start=0.2
    )
    criterion = torch.nn.CrossEntropyLoss(ignore_index=IGNORED)
    best_score = -1.0
    best_weights = {}
    for _ in range(epochs):
        model.train()
        for image, target in loader:
            optimizer.zero_grad()
            criterion(model(image), target).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            schedule.step()
        score = mean_iou(model, val)
        if score > best_score:
            best_score = score
            best_weights = {key: value.clone() for key, value in model.state_dict().items()}
    model.load_state_dict(best_weights)
    return mean_iou(model, test)


def train_maskmill(prepared, encoder, epochs, seed):
    """The same recipe by the commands of maskmill; mIoU on test."""
    with tempfile.TemporaryDirectory() as folder:
        overrides = [
            "experiment=scenes_semantic",
            f"encoder={encoder}",
            "loss=cross_entropy",
            f"prepare.out={prepared}",
            f"out={folder}/out",
            f"seed={seed}",
            f"trainer.max_epochs={epochs}",
            f"optimizer.lr={LEARNING_RATE}",
            "tracking.system_metrics=false",
        ]
        for stage in ("train", "predict", "evaluate"):
            command = [sys.executable, "-m", f"maskmill.stages.{stage}", *overrides]
            result = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, check=False
            )
            if result.returncode:
                sys.exit(result.stdout + result.stderr)
        metrics = json.loads(Path(folder, "out/evaluate/metrics.json").read_text())
        return metrics["mIoU"]


def print_summary(name, scores):
    mean = np.mean(scores)
    deviation = np.std(scores, ddof=1)
    print(f"{name}: {mean:.4f} +- {deviation:.4f} (standard deviation of {len(scores)} seeds)")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--encoder", default="resnet10t")
    options = parser.parse_args()
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    prepared = options.prepared.resolve()
    plain_scores = []
    our_scores = []
    for seed in options.seeds:
        plain_scores.append(train_plain(prepared, options.encoder, options.epochs, seed))
        print(f"seed {seed}: plain mIoU {plain_scores[-1]:.4f}", flush=True)
        our_scores.append(train_maskmill(prepared, options.encoder, options.epochs, seed))
        print(f"seed {seed}: maskmill mIoU {our_scores[-1]:.4f}", flush=True)
    print_summary("plain", plain_scores)
    print_summary("maskmill", our_scores)
    difference = np.mean(our_scores) - np.mean(plain_scores)
    p_value = ttest_ind(plain_scores, our_scores, equal_var=False).pvalue
    print(f"difference {difference:+.4f}; Welch's t: p = {p_value:.2f}")


if __name__ == "__main__":
    main()
