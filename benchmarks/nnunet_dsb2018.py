"""Nuclei as one class, DSB-2018: a plan of maskmill beside nnU-Net v2 in the same CPU time.

    pip install nnunetv2    # not a dependency of maskmill
    python benchmarks/nnunet_dsb2018.py DSB2018 OUT [--epochs 50] [--seed 0] [--memory-gb 8]

Ours is `maskmill plan source=dsb2018 plan.epochs=50` and `maskmill train experiment=planned`, an
instance task; all pixels of its segments are nucleus. nnU-Net plans, preprocesses, trains and
predicts by its own code with its own settings, in two dimensions, on the training images of ours.
Its polynomial schedule is as long as the time allows: six iterations are timed, and the CPU time
that our command took, with its start and validations, or `--minutes`, pays for the number of them.
nnU-Net has neither start, preprocessing nor validation counted. Its planner sizes patches and
batches for the memory of a GPU, 8 GB by default; less memory gives smaller and therefore more
iterations. Both have one thread. nnU-Net starts from random weights, the plan from those of
ImageNet.

The Dice coefficient 2 TP / (2 TP + FP + FN) is that of the nucleus on the 16 test images: of all
pixels together, and the mean over images with the 95 % interval of a bootstrap over images.
"""

import argparse
import json
import os
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from plans import Project

from maskmill.canonical.folder import PanopticFolder

NAME = "Dataset001_DSB2018"
PLANS = "nnUNetPlans"
TIMED_ITERATIONS = 6  # the first ones are slower
RESAMPLES = 2000


def write_raw(prepared, raw):
    """The training and test images in nnU-Net's layout."""
    train = PanopticFolder(prepared / "train")
    test = PanopticFolder(prepared / "test")
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (raw / NAME / name).mkdir(parents=True)
    for record in train.records:
        mask = (train.panoptic(record.id).ids > 0).astype(np.uint8)
        cv2.imwrite(str(raw / NAME / f"labelsTr/case_{record.id}.png"), mask)
    for split, name in ((train, "imagesTr"), (test, "imagesTs")):
        for record in split.records:
            path = raw / NAME / name / f"case_{record.id}_0000.png"
            cv2.imwrite(str(path), split.image(record)[..., ::-1])
    description = {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, "nucleus": 1},
        "numTraining": len(train.records),
        "file_ending": ".png",
    }
    (raw / NAME / "dataset.json").write_text(json.dumps(description))


def nnunet_trainer(out, memory_gb, seed):
    """A trainer of nnU-Net before its first step, by its own plan."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    plan_and_preprocess_api.extract_fingerprints([1], num_processes=1)
    plan_and_preprocess_api.plan_experiments(
        [1], gpu_memory_target_in_gb=memory_gb, overwrite_plans_name=PLANS
    )
    plan_and_preprocess_api.preprocess([1], PLANS, configurations=("2d",), num_processes=(1,))
    folder = out / "nnunet/preprocessed" / NAME
    plans = json.loads((folder / f"{PLANS}.json").read_text())
    description = json.loads((folder / "dataset.json").read_text())
    torch.manual_seed(seed)
    np.random.seed(seed)
    plans["continue_training"] = False
    # augment in this process; planning needs at least 1
    os.environ["nnUNet_n_proc_DA"] = "0"  # noqa: SIM112 - nnU-Net reads it by this name
    trainer = nnUNetTrainer(plans, "2d", "all", description, device=torch.device("cpu"))
    trainer.on_train_start()
    return trainer


def train_nnunet(trainer, cpu_s):
    """Train for that time; CPU seconds and iterations."""
    trainer.network.train()
    trainer.lr_scheduler.max_steps = 10**9  # until six iterations are timed
    num_iterations = None
    step = 0
    start = time.process_time()
    while step != num_iterations:
        trainer.lr_scheduler.step(step)
        trainer.train_step(next(trainer.dataloader_train))
        step += 1
        if step == TIMED_ITERATIONS:
            per_iteration = (time.process_time() - start) / step
            num_iterations = max(int(cpu_s / per_iteration), step)
            trainer.lr_scheduler.max_steps = num_iterations
    return time.process_time() - start, step


def predict_nnunet(trainer, raw, out):
    """Predict the test images as nnU-Net does: windows that overlap by half, in mirrored views."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    device = torch.device("cpu")
    predictor = nnUNetPredictor(perform_everything_on_device=False, device=device)
    trainer.set_deep_supervision_enabled(False)
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        [trainer.network.state_dict()],
        trainer.dataset_json,
        "nnUNetTrainer",
        trainer.inference_allowed_mirroring_axes,
    )
    out.mkdir(exist_ok=True)
    predictor.predict_from_files_sequential(str(raw / NAME / "imagesTs"), str(out))


def counts(target, pred):
    """TP, FP and FN of a pair of masks."""
    return (target & pred).sum(), (~target & pred).sum(), (target & ~pred).sum()


def dice(rows):
    """Of counts (..., 3); 1 without a nucleus in either."""
    rows = np.asarray(rows, np.float64)
    total = 2 * rows[..., 0] + rows[..., 1] + rows[..., 2]
    return np.where(total > 0, 2 * rows[..., 0] / np.maximum(total, 1), 1.0)


def shown(rows):
    """Dice of all pixels; the mean over images and its interval."""
    per_image = dice(rows)
    picked = np.random.default_rng(0).integers(len(rows), size=(RESAMPLES, len(rows)))
    lower, upper = 100 * np.percentile(per_image[picked].mean(axis=1), [2.5, 97.5])
    pooled = 100 * dice(np.sum(rows, axis=0))
    return f"{pooled:.1f} | {100 * per_image.mean():.1f} ({lower:.1f} to {upper:.1f})"


def score(test, predicted_mask):
    """Counts of each test image."""
    rows = []
    for record in test.records:
        target = test.panoptic(record.id).ids > 0
        rows.append(counts(target, predicted_mask(record.id)))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dsb2018", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--minutes", type=float, help="CPU time of nnU-Net; default: that of ours")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory-gb", type=float, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    out = options.out.resolve()
    project = Project(out, options.dsb2018.resolve(), ["source=dsb2018"], options.seed)
    project.run("prepare", "prepare", "prepare.workers=1")
    project.run("plan", "plan", f"plan.epochs={options.epochs}")
    cpu_s = project.train("planned", "experiment=planned")
    project.score("planned", "experiment=planned")
    test = PanopticFolder(out / "out/prepare/test")
    ours = PanopticFolder(out / "out/predicted_planned", expected=test.categories)
    rows = score(test, lambda image_id: ours.panoptic(image_id).ids > 0)
    print("| | CPU min | steps | Dice of all pixels | mean Dice of the images |")
    print("|---|---|---|---|---|")
    print(f"| maskmill | {cpu_s / 60:.1f} | | {shown(rows)} |", flush=True)

    raw = out / "nnunet/raw"
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(out / "nnunet" / name)
    os.environ |= {"nnUNet_n_proc_DA": "1", "nnUNet_compile": "False"}
    write_raw(out / "out/prepare", raw)
    trainer = nnunet_trainer(out, options.memory_gb, options.seed)
    budget_s = cpu_s if options.minutes is None else 60 * options.minutes
    used_s, num_steps = train_nnunet(trainer, budget_s)
    predicted = out / "nnunet/predicted"
    predict_nnunet(trainer, raw, predicted)
    rows = score(test, lambda i: cv2.imread(str(predicted / f"case_{i}.png"), -1) > 0)
    chosen = trainer.configuration_manager
    size = f"{chosen.batch_size} patches of {tuple(chosen.patch_size)} px"
    print(f"| nnU-Net, {size} | {used_s / 60:.1f} | {num_steps} | {shown(rows)} |")


if __name__ == "__main__":
    main()
