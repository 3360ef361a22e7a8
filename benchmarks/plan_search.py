"""Is a plan within 2 points of the best of a search of 12 trials, at the same budget per trial?

    pip install 'maskmill[optuna]'
    python benchmarks/plan_search.py DATA OUT [SET ...] [--trials 12] [--seed 0]

DATA and the sets are those of plans.py; OUT gets a project for each. A plan of `EPOCHS` is trained;
then Optuna's TPE varies what `SPACE` has on top of the plan, each trial as long as the plan, and
without pruning. The plan is not among the trials. The best trial by the score on the validation
images is compared with the plan on the test images, with the 95 % interval of the paired
difference. One thread; the CPU minutes are those of the planned training.
"""

import json

from plans import SETS, Project, parser_of, shown

EPOCHS = {"cwfid_vegetation": 12, "camvid": 2}
SPACE = [
    "optimizer.lr=tag(log,interval(2e-4,8e-3))",
    "optimizer.weight_decay=tag(log,interval(1e-4,1e-1))",
    "encoder.layer_decay=interval(0.6,1.0)",
    "loss=cross_entropy,cross_entropy_dice,focal,lovasz",
]


def compare(name, options):
    """Print the row of a data set."""
    folder, overrides, _, metric = SETS[name]
    data = (options.data / folder).resolve()
    project = Project((options.out / name).resolve(), data, overrides, options.seed)
    project.run("prepare", "prepare", "prepare.workers=1")
    project.run("plan", "plan", f"plan.epochs={EPOCHS[name]}")
    planned_s = project.train("planned", "experiment=planned")
    project.run(
        "search",
        "train",
        "experiment=planned",
        "hydra/sweeper=optuna",
        "hydra/sweeper/pruner=none",
        f"hydra.sweeper.n_trials={options.trials}",
        f"hydra.sweeper.seed={options.seed}",
        "sweep.name=search",
        "train.calibrate=false",
        *SPACE,
        "-m",
    )
    jobs = []
    for path in (project.folder / "out/sweeps/search").glob("*/job.json"):
        job = json.loads(path.read_text())
        jobs.append((job["score"], path.parent, job["own"]))
    _, best_folder, own = max(jobs, key=lambda job: job[0])
    planned = project.score("planned", "experiment=planned")
    # the same commands for the model of the best trial, and the difference to the plan
    trial = [f"train.out={best_folder}/train", "predict.out=out/predicted_best"]
    project.run("predict_best", "predict", *trial, "experiment=planned")
    project.run(
        "evaluate_best",
        "evaluate",
        *trial,
        "experiment=planned",
        "evaluate.out=out/evaluated_best",
        "evaluate.baseline=out/predicted_planned",
    )
    best = json.loads((project.folder / "out/evaluated_best/metrics.json").read_text())
    change, lower, upper = project.difference(metric, "best")
    print(
        f"| {name}, {metric} | {planned_s / 60:.1f} | {len(jobs)} "
        f"| {shown(planned, metric)} | {shown(best, metric)} "
        f"| {100 * change:+.1f} ({100 * lower:+.1f} to {100 * upper:+.1f}) | {', '.join(own)} |",
        flush=True,
    )


def main():
    parser = parser_of(__doc__.splitlines()[0], EPOCHS)
    parser.add_argument("--trials", type=int, default=12)
    options = parser.parse_args()
    print(
        "| data, score | plan, CPU min | trials | plan | best trial | best - plan | its settings |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in options.sets:
        compare(name, options)


if __name__ == "__main__":
    main()
