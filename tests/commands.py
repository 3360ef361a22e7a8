"""Commands as users start them, in processes of their own."""

import os
import subprocess
import sys

QUICK = [
    "data.num_workers=0",
    "data.batch_size=2",
    "tracking.system_metrics=false",
    "trainer.log_every_n_steps=1",
]
OUTER_VARIABLES = ("MLFLOW_TRACKING_URI", "DVC_ROOT", "MASTER_ADDR", "MASTER_PORT")


def start(command, *overrides, cwd, **environment):
    """Start a stage; its stdout and stderr come as one text."""
    variables = dict(os.environ)
    for name in OUTER_VARIABLES:
        variables.pop(name, None)
    variables |= {"OMP_NUM_THREADS": "1"} | environment
    return subprocess.Popen(
        [sys.executable, "-m", f"maskmill.stages.{command}", *overrides],
        cwd=cwd,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(command, *overrides, cwd, status=0):
    """Run a stage, assert its exit status, and return its output."""
    process = start(command, *overrides, cwd=cwd)
    output, _ = process.communicate(timeout=900)
    assert process.returncode == status, output
    return output


def prepare(folder, *, num_train, num_val=3):
    """Draw scenes and prepare them."""
    settings = {"num_train": num_train, "num_val": num_val, "num_test": 1, "out": "data"}
    overrides = [f"draw.{key}={value}" for key, value in settings.items()]
    run("draw", *overrides, cwd=folder)
    run("prepare", "prepare.workers=1", cwd=folder)
    return folder
