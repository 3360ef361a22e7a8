"""Does `source=` alone learn better with a plan than with the fixed default?

    python benchmarks/plans.py DATA OUT [SET ...] [--seed 0]

DATA holds the data sets in the folders of `SETS`; OUT gets a project for each. Each line below is a
command as a user would type it, with one thread:

    maskmill prepare source=SET                    maskmill prepare source=SET
    maskmill plan source=SET plan.epochs=P         maskmill train source=SET trainer.max_epochs=E
    maskmill train experiment=planned source=SET   maskmill predict source=SET
    maskmill predict experiment=planned            maskmill evaluate

The epochs P of `SETS` take some CPU minutes; a plan of epochs, unlike one of minutes, does not
depend on what else the machine does. The fixed default is what conf/config.yaml has. Its epochs E
are those that take as much CPU time as the planned training did: two short trainings give the time
of an epoch. It validates twice, a plan about ten times. Neither is calibrated afterwards
(`train.calibrate=false`), which does not change these scores. They are of the test split, with the
95 % interval over images of `evaluate`, and that of the paired difference. Parts that OUT has
already are not run again.
"""

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

TIMED_EPOCHS = (1, 4)
DIFFERENCE = ("difference", "difference_low", "difference_high")  # columns of differences.csv
VEGETATION = [  # CWFID's masks of plants, which are separate annotations, as a semantic data set
    "source=camvid",
    "source.pairs=[{_target_: maskmill.sources.pairs.FolderPairs, images: images, labels: masks,"
    " label_ending: _mask.png, image_ending: _image.png, seed: 8,"
    " splits: {train: 0.6, val: 0.15, test: 0.25}}]",
    "source.categories=[{id: 0, name: plant}, {id: 1, name: soil}]",
    "source.void_ids=[]",
]
SETS = {  # name -> folder of DATA, overrides, epochs of the plan, score
    "camvid": ("camvid", ["source=camvid"], 12, "mIoU"),
    "ccp": ("ccp", ["source=ccp"], 10, "mIoU"),
    "dsb2018": ("dsb2018", ["source=dsb2018"], 27, "PQ"),
    "cwfid": ("cwfid", ["source=cwfid"], 60, "PQ"),
    "coco128_seg": ("coco128-seg", ["source=coco128_seg"], 6, "PQ"),
    "cwfid_vegetation": ("cwfid", VEGETATION, 30, "mIoU"),
    "scenes": (None, ["source=scenes"], 12, "PQ"),  # drawn; the default was written for them
}


class Project:
    """The folder of one data set, in which the commands run."""

    def __init__(self, folder, data, overrides, seed):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.overrides = [*overrides, f"seed={seed}", "data.num_workers=0"]
        self.overrides.append(f"source.root={data}")
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.environment.pop("MLFLOW_TRACKING_URI", None)

    def run(self, name, command, *options):
        """CPU seconds of a command; a file keeps them, so that it is not run again."""
        record = self.folder / f"{name}.json"
        if record.is_file():
            return json.loads(record.read_text())["cpu_s"]
        line = [sys.executable, "-m", f"maskmill.stages.{command}", *self.overrides, *options]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with (self.folder / f"{name}.log").open("w") as log:
            result = subprocess.run(
                line,
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if result.returncode:
            sys.exit((self.folder / f"{name}.log").read_text())
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        record.write_text(json.dumps({"cpu_s": cpu_s, "command": line}))
        return cpu_s

    def train(self, name, *options):
        """CPU seconds of a training into out/NAME."""
        folders = [f"train.out=out/{name}", f"train.state=out/state_{name}"]
        return self.run(name, "train", *folders, "train.calibrate=false", *options)

    def score(self, name, *options, baseline=None):
        """Predict the test split and evaluate it; returns the metrics."""
        model = f"train.out=out/{name}"
        prediction = f"predict.out=out/predicted_{name}"
        self.run(f"predict_{name}", "predict", model, prediction, *options)
        evaluation = f"out/evaluated_{name}"
        extra = [f"evaluate.baseline=out/predicted_{baseline}"] if baseline else []
        self.run(
            f"evaluate_{name}",
            "evaluate",
            model,
            prediction,
            f"evaluate.out={evaluation}",
            *extra,
            *options,
        )
        return json.loads((self.folder / evaluation / "metrics.json").read_text())

    def difference(self, metric, name="planned"):
        """The evaluation of that name minus its baseline, with the bounds of its interval."""
        path = self.folder / f"out/evaluated_{name}/differences.csv"
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                if row["kind"] == "all" and row["metric"] == metric:
                    return tuple(float(row[key]) for key in DIFFERENCE)
        raise AssertionError(f"{path} has no {metric}")


def equal_epochs(project, cpu_s):
    """The epochs of the fixed default that take that time, an even number."""
    seconds = {}
    for epochs in TIMED_EPOCHS:
        seconds[epochs] = project.train(f"timed_{epochs}", *default_length(epochs, epochs))
    few, more = TIMED_EPOCHS
    per_epoch = (seconds[more] - seconds[few]) / (more - few)
    epochs = more + (cpu_s - seconds[more]) / per_epoch
    return max(2 * round(epochs / 2), 2)


def default_length(epochs, every):
    """Options of the fixed default for a number of epochs."""
    return [
        f"trainer.max_epochs={epochs}",
        f"trainer.check_val_every_n_epoch={every}",
        f"callbacks.pictures.every_n_epochs={epochs}",
    ]


def compare(name, options):
    """Print the row of a data set."""
    folder, overrides, num_epochs, metric = SETS[name]
    project_folder = (options.out / name).resolve()
    data = (options.data / folder).resolve() if folder else project_folder / "data"
    project = Project(project_folder, data, overrides, options.seed)
    if folder is None and not data.is_dir():
        project.run("draw", "draw", f"draw.out={data}")
    project.run("prepare", "prepare", "prepare.workers=1")
    project.run("plan", "plan", f"plan.epochs={num_epochs}")
    planned_s = project.train("planned", "experiment=planned")
    epochs = equal_epochs(project, planned_s)
    default_s = project.train("default", *default_length(epochs, epochs // 2))
    default = project.score("default")
    planned = project.score("planned", "experiment=planned", baseline="default")
    change, lower, upper = project.difference(metric)
    print(
        f"| {name}, {metric} | {planned['num_images']} | {planned_s / 60:.1f} "
        f"| {default_s / 60:.1f} ({epochs} epochs) | {shown(planned, metric)} "
        f"| {shown(default, metric)} "
        f"| {100 * change:+.1f} ({100 * lower:+.1f} to {100 * upper:+.1f}) |",
        flush=True,
    )


def shown(metrics, metric):
    """A score and its interval in per cent."""
    lower, upper = metrics["interval"][metric]
    return f"{100 * metrics[metric]:.1f} ({100 * lower:.1f} to {100 * upper:.1f})"


def parser_of(description, sets):
    """Reads DATA, OUT, the names of data sets and the seed."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", nargs="*", default=list(sets), metavar="SET")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main():
    options = parser_of(__doc__.splitlines()[0], SETS).parse_args()
    print(
        "| data, score | test images | planned, CPU min | default, CPU min | planned | default "
        "| difference |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in options.sets:
        compare(name, options)


if __name__ == "__main__":
    main()
