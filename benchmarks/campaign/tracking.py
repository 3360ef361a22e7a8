"""Real trainings and the tracking store: many at once, and a server that is down; run by hand.

    python -m benchmarks.campaign.tracking together [--trainings 16]
    python -m benchmarks.campaign.tracking outage [--epochs 200] [--seconds 60]
    python -m benchmarks.campaign.tracking outage --for-good

`together` starts trainings at the same moment in a project without a database. `outage` stops the
server after the first epoch of a training, for a while or until the training has ended; in the
second case `maskmill doctor --fix` sends the rest. Each prints how many values of each kind the
store has in the end, and how many it must have. Commands are forked from a process that has
imported the libraries.
"""

import argparse
import math
import tempfile
import time
from pathlib import Path

import mlflow
from tests.commands import QUICK, prepare, start, start_module
from tests.mlflow_server import mlflow_server

from maskmill.training.callbacks import MAX_TIMES

SMALL = ["encoder.name=resnet10t", "callbacks.pictures.every_n_epochs=1", *QUICK]
NUM_STEPS = 2  # of an epoch: four images in batches of two


def training(folder, name, *, epochs, **environment):
    """Start a training with folders of its own."""
    places = [f"train.out=out/{name}", f"train.state=out/state/{name}"]
    settings = [f"trainer.max_epochs={epochs}", *places, *SMALL]
    return start("train", *settings, cwd=folder, **environment)


def all_runs(client):
    """The runs of a store, the latest first."""
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return client.search_runs(ids, order_by=["attributes.start_time DESC"])


def counts(client, run):
    """Status, and how many losses, scores and pictures a run has."""
    run_id = run.info.run_id
    losses = len(client.get_metric_history(run_id, "train/loss"))
    scores = len(client.get_metric_history(run_id, "val/mIoU"))
    return run.info.status, losses, scores, num_pictures(client, run_id)


def num_pictures(client, run_id, folder=None):
    """How many PNG files a run has."""
    total = 0
    for file in client.list_artifacts(run_id, folder):
        if file.is_dir:
            total += num_pictures(client, run_id, file.path)
        total += file.path.endswith(".png")
    return total


def together(folder, num_trainings):
    """Start trainings at once in a project without a database."""
    start_s = time.monotonic()
    processes = []
    for number in range(num_trainings):
        processes.append(training(folder, str(number), epochs=1))
    outputs = [process.communicate()[0] for process in processes]
    print(f"{num_trainings} trainings in {time.monotonic() - start_s:.0f} s")
    print("exit status:", sorted({process.returncode for process in processes}))
    print("outputs that name a lock or an error:", sum("rror" in o or "lock" in o for o in outputs))
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    found = [counts(client, run) for run in all_runs(client)]
    print(f"runs: {len(found)}; expected of each: FINISHED, {NUM_STEPS} losses, 1 score, 1 picture")
    print("found:", sorted(set(found)))


def outage(folder, *, epochs, seconds, for_good):
    """Stop the server in the middle of a training."""
    store = {"database": f"sqlite:///{folder}/server.db", "artifacts": str(folder / "artifacts")}
    with mlflow_server(folder, **store) as gate:
        gate.open()
        client = mlflow.MlflowClient(gate.uri)
        process = training(folder, "model", epochs=epochs, MLFLOW_TRACKING_URI=gate.uri)
        while not any("val/mIoU" in run.data.metrics for run in all_runs(client)):
            time.sleep(1)
        gate.close()
        if not for_good:
            time.sleep(seconds)
            print("the training runs when the server comes back:", process.poll() is None)
            gate.open()
        output, _ = process.communicate()
        print("exit status:", process.returncode, "model:", (folder / "out/model").is_dir())
        print("lines that the outage added:", sum("MLflow" in line for line in output.splitlines()))
        if for_good:
            gate.open()
            arguments = {"cwd": folder, "MLFLOW_TRACKING_URI": gate.uri}
            print(start_module("maskmill.stages.doctor", "--fix", **arguments).communicate()[0])
        (run,) = all_runs(client)
        interval = math.ceil(epochs / MAX_TIMES)
        pictures = len({*range(interval, epochs + 1, interval), epochs})
        print(f"expected: {('FINISHED', epochs * NUM_STEPS, epochs, pictures)}")
        print("found:", counts(client, run))


def main():
    """Run one of the trials in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("trial", choices=["together", "outage"])
    parser.add_argument("--trainings", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--for-good", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="maskmill-tracking-") as name:
        folder = prepare(Path(name), num_train=4, num_val=1)
        if arguments.trial == "together":
            together(folder, arguments.trainings)
            return
        times = {"epochs": arguments.epochs, "seconds": arguments.seconds}
        outage(folder, **times, for_good=arguments.for_good)


if __name__ == "__main__":
    main()
