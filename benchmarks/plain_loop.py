"""Does wrapping cost accuracy? A plain PyTorch loop over the same SMP model, data, recipe, steps and seeds, beside `maskmill train`.

    python benchmarks/plain_loop.py PREPARED [--seeds 0 1 2] [--epochs 15] [--encoder resnet10t]

PREPARED is a semantic or panoptic data set of `maskmill prepare` with splits train, val and test. Both train the U-Net of conf/network
with cross-entropy, keep the epoch with the best mIoU on val, and are scored on test: ours by `maskmill evaluate`, the loop by
torchmetrics over the whole split. The loop has none of our code but the reading of the files; each side has its own random numbers, so
the seeds only tell how far apart two trainings of the same recipe end. The samples' spread and Welch's t say whether the means differ.
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

IGNORED, BATCH, RATE, CROP = 255, 8, 2e-3, (96, 160)
DECODER = (128, 64, 48, 32, 16)  # channels, as in conf/network/unet.yaml


class Split(Dataset):
    """Images and class maps of a split, all in memory."""

    def __init__(self, folder, transforms):
        split = PanopticFolder(folder)
        index = {category.id: place for place, category in enumerate(split.categories)}
        lookup = np.full(max(index) + 2, IGNORED, np.uint8)  # the last is void, -1
        lookup[list(index)] = list(index.values())
        self.images = [split.image(record) for record in split.records]
        self.classes = [
            lookup[split.panoptic(record.id).category_map()] for record in split.records
        ]
        self.num_classes, self.transforms = len(index), transforms

    def __len__(self):
        return len(self.images)

    def __getitem__(self, place):
        moved = self.transforms(image=self.images[place], mask=self.classes[place])
        return torch.from_numpy(moved["image"].transpose(2, 0, 1).copy()), torch.from_numpy(
            moved["mask"]
        ).long()


def splits(prepared, encoder):
    statistics = timm.data.resolve_model_data_config(timm.create_model(encoder))
    normalise = albumentations.Normalize(statistics["mean"], statistics["std"])
    augment = [
        albumentations.RandomResizedCrop(
            size=CROP, scale=(0.4, 1.0), ratio=(1.2, 2.2), mask_interpolation=0
        ),
        albumentations.HorizontalFlip(p=0.5),
        albumentations.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02, p=0.5),
    ]
    return [
        Split(
            prepared / name,
            albumentations.Compose([*(augment if name == "train" else []), normalise]),
        )
        for name in ("train", "val", "test")
    ]


def mean_iou(model, split):
    """Over the pixels of the whole split, of the classes that occur."""
    metric = MulticlassJaccardIndex(split.num_classes, average="none", ignore_index=IGNORED)
    occurs = torch.zeros(split.num_classes, dtype=torch.bool)
    model.eval()
    with torch.no_grad():
        for image, classes in DataLoader(split):
            guess = model(image).argmax(1)
            metric.update(guess, classes)
            seen = torch.cat([guess.flatten(), classes.flatten()]).unique()
            occurs[seen[seen != IGNORED]] = True
    return metric.compute()[occurs].mean().item()


def plain(prepared, encoder, epochs, seed):
    """The loop anyone would write; mIoU on test of the epoch that was best on val."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    train, val, test = splits(prepared, encoder)
    train.transforms.set_random_seed(seed)
    model = smp.Unet(
        f"tu-{encoder}", encoder_weights=None, classes=train.num_classes, decoder_channels=DECODER
    )
    loader = DataLoader(train, batch_size=BATCH, shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=epochs * len(loader), pct_start=0.2
    )
    criterion = torch.nn.CrossEntropyLoss(ignore_index=IGNORED)
    best = -1.0, None
    for _ in range(epochs):
        model.train()
        for image, classes in loader:
            optimizer.zero_grad()
            criterion(model(image), classes).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            schedule.step()
        score = mean_iou(model, val)
        if score > best[0]:
            best = score, {key: value.clone() for key, value in model.state_dict().items()}
    model.load_state_dict(best[1])
    return mean_iou(model, test)


def ours(prepared, encoder, epochs, seed):
    """The same through the program's commands."""
    with tempfile.TemporaryDirectory() as folder:
        overrides = [
            "experiment=scenes_semantic",
            f"encoder={encoder}",
            "loss=cross_entropy",
            f"prepare.out={prepared}",
            f"out={folder}/out",
        ]
        overrides += [
            f"seed={seed}",
            f"trainer.max_epochs={epochs}",
            f"optimizer.lr={RATE}",
            "tracking.system_metrics=false",
        ]
        for stage in ("train", "predict", "evaluate"):
            done = subprocess.run(
                [sys.executable, "-m", f"maskmill.stages.{stage}", *overrides],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                sys.exit(done.stdout + done.stderr)
        return json.loads(Path(folder, "out/evaluate/metrics.json").read_text())["mIoU"]


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
    scores = {plain: [], ours: []}
    for seed in options.seeds:
        for side, found in scores.items():
            found.append(side(options.prepared.resolve(), options.encoder, options.epochs, seed))
            print(f"seed {seed}: {side.__name__} mIoU {found[-1]:.4f}", flush=True)
    for side, found in scores.items():
        print(
            f"{side.__name__}: {np.mean(found):.4f} +- {np.std(found, ddof=1):.4f} (sample deviation of {len(found)} seeds)"
        )
    outcome = ttest_ind(scores[plain], scores[ours], equal_var=False)
    print(
        f"difference {np.mean(scores[ours]) - np.mean(scores[plain]):+.4f}; Welch's t: p = {outcome.pvalue:.2f}"
    )


if __name__ == "__main__":
    main()
