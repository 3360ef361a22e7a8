"""What does each choice of a plan give? The planned training, with one choice undone at a time.

    python benchmarks/ablation.py DATA OUT [SET ...] [--seeds 0 1 2]

DATA and the sets are those of plans.py; OUT gets a project for each. Every variant of a set trains
for the epochs of `EPOCHS` with the same seeds, one thread, in this process, and is scored on the
test split. A variant names the choice that it undoes, and is left out where the plan does not have
it. The difference is that of the means over the seeds, with the standard error of the paired
differences; the time is that of the trainings.
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

EPOCHS = {"cwfid_vegetation": 12}
PLANNED = "the plan"
TRAININGS = {  # variant -> choice of the plan that it undoes, overrides
    "random weights of the encoder": ("encoder", ["encoder.weights=null"]),
    "a learning rate without the factor 0.7": ("optimizer.lr", ["optimizer.lr={lr}"]),
    "cross-entropy without Dice": ("loss", ["loss=cross_entropy"]),
    "no colours": ("augment.transforms", ["augment.transforms={without_colours}"]),
    "no flips": ("augment.transforms", ["augment.transforms={without_flips}"]),
}
DROPPED = {
    "without_colours": ("ColorJitter",),
    "without_flips": ("D4", "HorizontalFlip"),
}


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
        self.values = {"lr": plan["optimizer"]["lr"] / 0.7}
        for key, names in DROPPED.items():
            kept = []
            for transform in plan["augment"]["transforms"]:
                if transform["_target_"].rpartition(".")[2] not in names:
                    kept.append(transform)
            if kept != plan["augment"]["transforms"]:
                self.values[key] = yaml.safe_dump(
                    kept, default_flow_style=True, width=10**9
                ).strip()

    def print_rows(self):
        """One row for each variant whose choice the plan has."""
        planned = self.scores(PLANNED, [])
        for variant, (choice, overrides) in TRAININGS.items():
            filled = [self._filled(override) for override in overrides]
            is_possible = "{without" not in str(filled)
            if is_possible and choice in self.choices:
                self._print_difference(variant, self.scores(variant, filled), planned)

    def scores(self, variant, overrides):
        """Scores of the seeds on the test split; prints the row's beginning."""
        scores = []
        minutes = []
        for seed in self.seeds:
            trained = f"out/{variant.replace(' ', '_')}_{seed}"
            common = [*self.project.overrides, "experiment=planned", f"seed={seed}"]
            common += [f"train.out={trained}", f"train.state={trained}_state"]
            minutes.append(self._train(trained, [*common, *overrides]))
            scores.append(self._score(trained, [*common, *overrides]))
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
