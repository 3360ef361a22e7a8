"""The best score that masks at a quarter of the image's size can reach on four real images.

    python benchmarks/free_masks.py DATA_FOLDER [--steps 800] [--shrink 2] [--threads 1]

This is about an upper bound for Mask2Former and EoMT. It takes the four images of each task as
benchmarks/overfit.py crops them, and gives every segment a mask of free logits instead of a
network's. It fits these with cross-entropy and Dice at the pixels, and post-processes them as in
conf/task. For semantic masks it also shows the score if votes (sums of probabilities) are
interpolated instead of mask logits. It runs for a few minutes, and its numbers are deterministic.
"""

import argparse
import tempfile
import warnings
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from overfit import CONF, GOALS, SIDE, write_images
from torch.nn import functional as F

from maskmill.assembly.build import build
from maskmill.canonical.folder import PanopticFolder
from maskmill.data.datamodule import SegmentationDataModule
from maskmill.data.transforms import Augmentation
from maskmill.losses.mask_classification import segments_of
from maskmill.metrics import ConfusionMatrix, PanopticQuality
from maskmill.postprocess.semantic import SemanticSegments
from maskmill.postprocess.torch_network import as_arrays

CONFIDENT = 9.0  # class logit of a segment's own class; the others have -9


def fit_masks(segments, num_steps):
    """Free mask logits (B, N, H/4, W/4) of a batch's segments."""
    num_segments = segments.classes.shape[1]
    index = torch.arange(num_segments)[:, None, None]
    is_inside = (segments.of_pixel[:, None] == index).float()  # (B, N, H, W)
    is_labelled = (segments.of_pixel >= 0)[:, None].float()  # (B, 1, H, W)
    num_labelled = is_labelled.sum((2, 3))  # (B, 1)
    exists = segments.classes >= 0  # (B, N)
    weight = exists.float() / exists.sum()  # for the mean over segments
    logits = torch.zeros(*segments.classes.shape, SIDE // 4, SIDE // 4, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.2)
    for _ in range(num_steps):
        upsampled = upsample(logits)  # (B, N, H, W)
        pixel_loss = F.binary_cross_entropy_with_logits(upsampled, is_inside, reduction="none")
        cross_entropy = (pixel_loss * is_labelled).sum((2, 3)) / num_labelled  # (B, N)
        probs = upsampled.sigmoid() * is_labelled  # (B, N, H, W)
        intersection = (probs * is_inside).sum((2, 3))  # (B, N)
        total = probs.sum((2, 3)) + is_inside.sum((2, 3))  # (B, N)
        dice = 1 - (2 * intersection + 1) / (total + 1)
        optimizer.zero_grad()
        ((cross_entropy + dice) * weight).sum().backward()
        optimizer.step()
    return logits.detach()


def upsample(maps):
    return F.interpolate(maps, scale_factor=4, mode="bilinear", align_corners=False)


def interpolate_votes(outputs, categories, sizes):
    """Predictions from interpolated votes, which lose the edges between mask pixels."""
    probs = outputs["class_logits"].softmax(dim=2)[..., :-1]  # (B, Q, K)
    votes = torch.einsum("bqk,bqhw->bkhw", probs, outputs["mask_logits"].sigmoid())
    logits = upsample(votes).log()  # (B, K, H, W)
    return SemanticSegments(categories=categories)({"semantic": logits}, sizes)


def compute_score(key, predictions, batch, categories):
    if key == "val/mIoU":
        metric = ConfusionMatrix(categories)
        for prediction, target in zip(predictions, batch["panoptic"], strict=True):
            metric.update([prediction.semantic], [target.category_map()])
    else:
        metric = PanopticQuality(categories)
        metric.update([prediction.panoptic for prediction in predictions], batch["panoptic"])
    return float(metric.compute()[key.removeprefix("val/")])


def score_free_masks(task, root, num_steps):
    """The score of free masks, and for semantic masks also that of interpolated votes."""
    categories = PanopticFolder(root / "train").categories
    num_classes = categories.num_outputs
    data = SegmentationDataModule(
        root, Augmentation([], 0), crop_size=(SIDE, SIDE), batch_size=4, num_workers=0, seed=0
    )
    data.setup("fit")
    batch = next(iter(data.val_dataloader()))
    separate_things = task != "semantic"
    segments = segments_of(batch["semantic"], batch["instance"], separate_things=separate_things)
    classes = torch.where(segments.classes >= 0, segments.classes, num_classes)
    one_hot = F.one_hot(classes, num_classes + 1).float()
    outputs = {
        "class_logits": CONFIDENT * (2 * one_hot - 1),
        "mask_logits": fit_masks(segments, num_steps),
    }
    with initialize_config_dir(CONF, version_base="1.3"):
        cfg = compose("config", ["network=mask2former", f"task={task}_masks"])
    postprocess = build(cfg.task.postprocess, object, categories=categories)
    key = GOALS[task].key
    score = compute_score(key, postprocess(as_arrays(outputs), batch["size"]), batch, categories)
    if task != "semantic":
        return score, None
    predictions = interpolate_votes(outputs, categories, batch["size"])
    return score, compute_score(key, predictions, batch, categories)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument(
        "--shrink", type=int, default=2, help="crop CWFID at this many times 128 px"
    )
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    print("| task | score of free masks | votes interpolated |\n|---|---|---|")
    for task in GOALS:
        with tempfile.TemporaryDirectory() as root:
            folder = write_images(task, options.data, Path(root), shrink=options.shrink)
            score, votes_score = score_free_masks(task, folder, options.steps)
        name = GOALS[task].key.removeprefix("val/")
        votes_cell = "" if votes_score is None else f"{votes_score:.3f}"
        print(f"| {task} | {name} {score:.3f} | {votes_cell} |", flush=True)


if __name__ == "__main__":
    main()
