"""CamVid by a plan beside the recipe that segmentation-models-pytorch (smp) publishes for it.

    python benchmarks/smp_camvid.py CAMVID OUT [--seeds 0 1 2] [--epochs 12]

CAMVID is SegNet's copy of the data; OUT gets a project. Ours is `maskmill plan source=camvid
plan.epochs=12` and `maskmill train experiment=planned` for each seed. The recipe is that of
examples/camvid_segmentation_multiclass.ipynb of smp, as a plain PyTorch loop: FPN, Dice, Adam with
2e-4 and a cosine to 1e-5, and its augmentation on crops of 320 px. Both have one thread, the same
training images and encoder (EfficientNet-Lite0 with ImageNet weights), and the same CPU time: the
loop takes as many steps as fit into what the command of ours took, with its start and validations.
The loop has no validations. Its batches have 8 images, since the example's 32 would leave a quarter
of the steps; `--batch-size 32` is the example's own.

Ours is scored by `maskmill evaluate`, the loop by torchmetrics over all pixels of the test images,
which is the same mIoU.
"""

import argparse
import json
import time
from pathlib import Path

import albumentations as A
import numpy as np
import segmentation_models_pytorch as smp
import torch
from plain_loop import IGNORED, Split, mean_iou, print_summary
from plans import Project
from scipy.stats import ttest_ind
from timm import create_model
from torch.utils.data import DataLoader

from maskmill.networks.weights import PACKAGE, read_weights

ENCODER = "tf_efficientnet_lite0"
PADDED = {"border_mode": 0, "fill": 0, "fill_mask": IGNORED}
TIMED_STEPS = 3
NORMALIZED = A.Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))  # as the weights expect
TRAINING = [
    A.HorizontalFlip(p=0.5),
    A.Affine(scale=(0.5, 1.5), translate_percent=(-0.1, 0.1), p=1, **PADDED),
    A.PadIfNeeded(min_height=320, min_width=320, **PADDED),
    A.RandomCrop(height=320, width=320),
    A.GaussNoise(p=0.2),
    A.Perspective(p=0.5, **PADDED),
    A.OneOf([A.CLAHE(p=1), A.RandomBrightnessContrast(p=1), A.RandomGamma(p=1)], p=0.9),
    A.OneOf([A.Sharpen(p=1), A.Blur(blur_limit=3, p=1), A.MotionBlur(blur_limit=3, p=1)], p=0.9),
    A.OneOf([A.RandomBrightnessContrast(p=1), A.HueSaturationValue(p=1)], p=0.9),
    NORMALIZED,
]
TESTING = [A.PadIfNeeded(min_height=384, min_width=480, **PADDED), NORMALIZED]


def build_model(num_classes):
    """smp's FPN on the encoder with the weights of the package."""
    model = smp.create_model(
        "FPN", f"tu-{ENCODER}", encoder_weights=None, in_channels=3, classes=num_classes
    )
    weights = read_weights(ENCODER, PACKAGE, create_model(ENCODER))
    missing, _ = model.encoder.model.load_state_dict(weights, strict=False)
    assert not missing
    return model


def endless(loader):
    while True:
        yield from loader


def train_recipe(prepared, seed, cpu_s, batch_size):
    """mIoU on the test images, CPU seconds and steps."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    train = Split(prepared / "train", A.Compose(TRAINING, seed=seed))
    model = build_model(train.num_classes)
    loader = DataLoader(train, batch_size=batch_size, shuffle=True, drop_last=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4)
    criterion = smp.losses.DiceLoss(
        smp.losses.MULTICLASS_MODE, from_logits=True, ignore_index=IGNORED
    )
    model.train()
    start = time.process_time()
    num_steps = None
    schedule = None
    for step, (image, target) in enumerate(endless(loader), start=1):
        optimizer.zero_grad()
        criterion(model(image), target).backward()
        optimizer.step()
        if step == TIMED_STEPS:
            num_steps = int(cpu_s / (time.process_time() - start) * step)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
                optimizer, T_max=num_steps - step, eta_min=1e-5
            )
        elif schedule:
            schedule.step()
        if step == num_steps:
            break
    used_s = time.process_time() - start
    return mean_iou(model, Split(prepared / "test", A.Compose(TESTING))), used_s, num_steps


def train_ours(project, seed):
    """mIoU on the test images and CPU seconds."""
    name = f"seed_{seed}"
    cpu_s = project.train(name, "experiment=planned", f"seed={seed}")
    return project.score(name, "experiment=planned")["mIoU"], cpu_s


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("camvid", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = options.out.resolve()
    project = Project(folder, options.camvid.resolve(), ["source=camvid"], 0)
    project.run("prepare", "prepare", "prepare.workers=1")
    project.run("plan", "plan", f"plan.epochs={options.epochs}")
    print("| seed | plan, CPU min | recipe, CPU min (steps) | plan, mIoU | recipe, mIoU |")
    print("|---|---|---|---|---|")
    ours = []
    theirs = []
    for seed in options.seeds:
        score, cpu_s = train_ours(project, seed)
        other, used_s, num_steps = train_recipe(
            folder / "out/prepare", seed, cpu_s, options.batch_size
        )
        ours.append(score)
        theirs.append(other)
        print(
            f"| {seed} | {cpu_s / 60:.1f} | {used_s / 60:.1f} ({num_steps}) | {100 * score:.1f} "
            f"| {100 * other:.1f} |",
            flush=True,
        )
        (folder / "scores.json").write_text(json.dumps({"plan": ours, "recipe": theirs}))
    print_summary("plan", ours)
    print_summary("recipe", theirs)
    p_value = ttest_ind(ours, theirs, equal_var=False).pvalue
    print(f"difference {np.mean(ours) - np.mean(theirs):+.4f}; Welch's t: p = {p_value:.3f}")


if __name__ == "__main__":
    main()
