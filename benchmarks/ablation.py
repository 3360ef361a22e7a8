"""What does each choice of a plan give? The planned training, with one choice changed at a time.

    python benchmarks/ablation.py DATA OUT [SET ...] [--seeds 0 1 2]

DATA and the sets are those of plans.py; OUT gets a project for each. Every variant of a set trains
for the epochs of `EPOCHS` with the same seeds, one thread, in this process, and is scored on the
test split. A variant of `UNDONE` names the choice that it undoes, and is left out where the plan
does not have it; one of `ADDED` names the choice that it adds, and is left out where the plan has
it; those of `PREDICTED` train nothing. The difference is that of the means over the seeds, with the
standard error of the paired differences; the time is that of the trainings.
"""

import argparse
import json
import logging
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from plans import SETS, Project

import maskmill

EPOCHS = {"cwfid_vegetation": 12, "dsb2018": 15}
PLANNED = "the plan"
AVERAGE = "{_target_: maskmill.training.averaging.WeightAverage, decay: 0.95, start_epoch: 0}"
FROZEN = "{_target_: maskmill.training.batch_norm.FrozenStatistics, start: 0.6}"
UNDONE = {  # variant -> choice of the plan that it undoes, override
    "random weights of the encoder": ("encoder", "encoder.weights=null"),
    "half the learning rate": ("optimizer.lr", "optimizer.lr={half_lr}"),
    "twice the learning rate": ("optimizer.lr", "optimizer.lr={twice_lr}"),
    "cross-entropy without Dice": ("loss", "loss=cross_entropy"),
    "no colours": ("augment.transforms", "augment.transforms={without_colours}"),
    "no flips": ("augment.transforms", "augment.transforms={without_flips}"),
    "no inverted images": ("augment.transforms", "augment.transforms={without_inversion}"),
    "each image as often": ("data.area_power", "data.area_power=0"),
    "batch norms never fixed": ("callbacks.frozen_statistics", "~callbacks.frozen_statistics"),
}
ADDED = {  # variant -> choice that the plan lacks, override
    "windows in px": ("segment_share", "augment.transforms={windows}"),
    "a third of these over segments": ("segment_share", "augment.transforms={over_segments}"),
    "averaged weights": ("callbacks.average", f"+callbacks.average={AVERAGE}"),
    "batch norms fixed": ("callbacks.frozen_statistics", f"+callbacks.frozen_statistics={FROZEN}"),
    "rates by layer, 0.8": ("encoder.layer_decay", "encoder.layer_decay=0.8"),
}
PREDICTED = {  # variant -> the same for predictions of the planned training
    "whole images at prediction": ("inference", "inference=whole"),
    "four flips at prediction": ("inference", "inference=flips"),
}
DROPPED = {
    "without_colours": ("ColorJitter",),
    "without_flips": ("D4", "HorizontalFlip"),
    "without_inversion": ("InvertImg",),
}
WINDOWS = ("RandomResizedCrop", "ScaleJitter")


class Ablation:
    """The variants of one data set."""

    def __init__(self, name, data, out, seeds):
        folder, overrides, _, self.metric = SETS[name]
        self.seeds = seeds
        self.project = Project(out / name, (data / folder).resolve(), overrides, 0)
        self.project.run("prepare", "prepare", "prepare.workers=1")
        self.project.run("plan", "plan", f"plan.epochs={EPOCHS[name]}")
        path = self.project.folder / "conf/experiment/planned.yaml"
        plan = yaml.safe_load(path.read_text())
        self.choices = _choices(plan)
        rate = plan["optimizer"]["lr"]
        self.values = {"half_lr": rate / 2, "twice_lr": 2 * rate}
        transforms = plan["augment"]["transforms"]
        for key, names in DROPPED.items():
            kept = [transform for transform in transforms if _name(transform) not in names]
            if kept != transforms:
                self.values[key] = _flow(kept)
        self.planned_transforms = f"augment.transforms={_flow(transforms)}"
        self.values["windows"] = _flow(_with_windows(transforms, 0.0))
        self.values["over_segments"] = _flow(_with_windows(transforms, 0.33))

    def print_rows(self):
        """One row for each variant that differs from the plan."""
        planned = self.scores(PLANNED, [])
        for variant, (choice, override) in (UNDONE | ADDED | PREDICTED).items():
            filled = self._filled(override)
            is_undone = variant in UNDONE
            is_same = filled in {f"{choice}={self.choices.get(choice)}", self.planned_transforms}
            is_other = variant in PREDICTED or (choice in self.choices) == is_undone
            if is_same or not is_other or "={without" in filled:
                continue
            self._print_difference(variant, self.scores(variant, [filled]), planned)

    def scores(self, variant, overrides):
        """Scores of the seeds on the test split; prints the row's beginning."""
        scores = []
        minutes = []
        for seed in self.seeds:
            trained = _folder(PLANNED if variant in PREDICTED else variant, seed)
            common = [*self.project.overrides, "experiment=planned", f"seed={seed}"]
            common += [f"train.out={trained}", f"train.state={trained}_state"]
            minutes.append(self._train(trained, [*common, *overrides]))
            scores.append(self._score(_folder(variant, seed), [*common, *overrides]))
        mean = 100 * np.mean(scores)
        print(f"| {variant} | {sum(minutes):.1f} | {mean:.1f}", end="", flush=True)
        if variant == PLANNED:
            print(" | |", flush=True)
        return np.array(scores)

    def _train(self, folder, overrides):
        """CPU minutes of a training; one that OUT has already is not repeated."""
        record = self.project.folder / f"{folder}.json"
        if not record.is_file():
            start = time.process_time()
            extra = ["train.calibrate=false", "tracking.system_metrics=false"]
            maskmill.train(project=self.project.folder, overrides=[*overrides, *extra])
            record.write_text(json.dumps((time.process_time() - start) / 60))
        return json.loads(record.read_text())

    def _score(self, folder, overrides):
        """The score of the test split."""
        overrides = [*overrides, f"predict.out={folder}_predicted"]
        overrides += [f"evaluate.out={folder}_evaluated", "evaluate.num_resamples=0"]
        maskmill.predict(project=self.project.folder, overrides=overrides)
        result = maskmill.evaluate(project=self.project.folder, overrides=overrides)
        return result.scores[self.metric]

    def _filled(self, override):
        for key, value in self.values.items():
            override = override.replace(f"{{{key}}}", str(value))
        return override

    def _print_difference(self, variant, scores, planned):
        differences = 100 * (scores - planned)
        error = ""
        if len(differences) > 1:
            error = f" +- {differences.std(ddof=1) / len(differences) ** 0.5:.1f}"
        print(f" | {differences.mean():+.1f}{error} |", flush=True)


def _folder(variant, seed):
    return f"out/{variant.replace(' ', '_')}_{seed}"


def _name(transform):
    return transform["_target_"].rpartition(".")[2]


def _flow(values):
    """YAML in one line, for an override."""
    return yaml.safe_dump(values, default_flow_style=True, width=10**9).strip()


def _with_windows(transforms, segment_share):
    """The transforms with windows by ScaleJitter in the place of the plan's."""
    first = next(index for index, value in enumerate(transforms) if _name(value) in WINDOWS)
    rest = [transform for transform in transforms if _name(transform) not in WINDOWS]
    window = {"size": "${data.crop_size}", "scale": [0.67, 1.5], "fit": False}
    if segment_share:
        window["segment_share"] = segment_share
    target = "maskmill.data.scale_jitter.ScaleJitter"
    return [*rest[:first], {"_target_": target, **window}, *rest[first:]]


def _choices(plan):
    """Key of each choice of a plan -> its value."""
    choices = {}
    for default in plan.pop("defaults"):
        for key, value in default.items():
            choices[key.removeprefix("override /")] = value
    for group, values in plan.items():
        choices |= dict(_leaves(values, group))
    return choices


def _leaves(values, prefix):
    for key, value in values.items():
        name = f"{prefix}.{key}"
        yield name, value
        if isinstance(value, dict):
            yield from _leaves(value, name)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", nargs="*", default=list(EPOCHS), metavar="SET")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.WARNING)  # not the progress of trainings
    for name in options.sets:
        ablation = Ablation(name, options.data, options.out.resolve(), options.seeds)
        print(f"\n| {name}, {EPOCHS[name]} epochs | CPU min | {ablation.metric} | difference |")
        print("|---|---|---|---|")
        ablation.print_rows()


if __name__ == "__main__":
    main()
