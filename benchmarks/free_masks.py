"""How well can masks of a quarter of the image's size tell four real images at all? About the most that Mask2Former and EoMT can reach.

    python benchmarks/free_masks.py DATA_FOLDER [--steps 800] [--shrink 4] [--threads 1]

Takes the four images of each task as benchmarks/overfit.py cuts them, gives every segment a mask of free logits instead of a network's,
fits those by cross-entropy and Dice at the pixels, and decodes them as conf/task says. For semantic masks it also tells what is left where
votes (sums of probabilities) are interpolated instead of mask logits. A few minutes; the same numbers every time.
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

SURE = 9.0  # class logit of a segment's own class, against -9 for the others


def fitted(found, steps):
    """Free mask logits (B, N, H/4, W/4) of a batch's segments."""
    num = found.classes.shape[1]
    inside = (found.of_pixel[:, None] == torch.arange(num)[:, None, None]).float()  # (B, N, H, W)
    known = (found.of_pixel >= 0)[:, None].float()
    present = (found.classes >= 0).float() / (found.classes >= 0).sum()  # the mean over segments
    logits = torch.zeros(*found.classes.shape, SIDE // 4, SIDE // 4, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.2)
    for _ in range(steps):
        full = enlarged(logits)
        cross_entropy = (
            F.binary_cross_entropy_with_logits(full, inside, reduction="none") * known
        ).sum((2, 3)) / known.sum((2, 3))
        probs = full.sigmoid() * known
        dice = 1 - (2 * (probs * inside).sum((2, 3)) + 1) / (
            probs.sum((2, 3)) + inside.sum((2, 3)) + 1
        )
        optimizer.zero_grad()
        ((cross_entropy + dice) * present).sum().backward()
        optimizer.step()
    return logits.detach()


def enlarged(maps):
    return F.interpolate(maps, scale_factor=4, mode="bilinear", align_corners=False)


def votes_interpolated(outputs, categories, sizes):
    """The decoding that loses what lies between mask pixels."""
    probs = outputs["class_logits"].softmax(dim=2)[..., :-1]
    votes = torch.einsum("bqk,bqhw->bkhw", probs, outputs["mask_logits"].sigmoid())
    return SemanticSegments(categories=categories)({"semantic": enlarged(votes).log()}, sizes)


def score(key, predictions, batch, categories):
    if key == "val/mIoU":
        metric = ConfusionMatrix(categories)
        metric.update(
            [pred.semantic for pred in predictions],
            [truth.category_map() for truth in batch["panoptic"]],
        )
    else:
        metric = PanopticQuality(categories)
        metric.update([pred.panoptic for pred in predictions], batch["panoptic"])
    return float(metric.compute()[key.removeprefix("val/")])


def free_score(task, root, steps):
    """The score of the free masks, and that of interpolated votes where the task is semantic."""
    categories = PanopticFolder(root / "train").categories
    data = SegmentationDataModule(
        root, Augmentation([], 0), crop_size=(SIDE, SIDE), batch_size=4, num_workers=0, seed=0
    )
    data.setup("fit")
    batch = next(iter(data.val_dataloader()))
    found = segments_of(batch["semantic"], batch["instance"], separate_things=task != "semantic")
    num_classes = categories.num_outputs
    own = torch.where(found.classes >= 0, found.classes, num_classes)
    outputs = {
        "class_logits": SURE * (2 * F.one_hot(own, num_classes + 1).float() - 1),
        "mask_logits": fitted(found, steps),
    }
    with initialize_config_dir(CONF, version_base="1.3"):
        cfg = compose("config", ["network=mask2former", f"task={task}_masks"])
    key = GOALS[task][0]
    ours = score(
        key,
        build(cfg.task.postprocess, object, categories=categories)(outputs, batch["size"]),
        batch,
        categories,
    )
    if task != "semantic":
        return ours, None
    return ours, score(
        key, votes_interpolated(outputs, categories, batch["size"]), batch, categories
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument(
        "--shrink", type=int, default=2, help="CWFID is cut at this many times 128 px"
    )
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    print("| task | score of free masks | votes interpolated |\n|---|---|---|")
    for task in GOALS:
        with tempfile.TemporaryDirectory() as root:
            ours, votes = free_score(
                task,
                write_images(task, options.data, Path(root), shrink=options.shrink),
                options.steps,
            )
        print(
            f"| {task} | {GOALS[task][0].removeprefix('val/')} {ours:.3f} | {'' if votes is None else f'{votes:.3f}'} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
