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


def start(command, *overrides, cwd, **environment):
    """Start a stage; what it says comes as one text."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in {"MLFLOW_TRACKING_URI", "DVC_ROOT", "MASTER_ADDR", "MASTER_PORT"}
    }
    line = [sys.executable, "-m", f"maskmill.stages.{command}", *overrides]
    kept |= {"OMP_NUM_THREADS": "1"} | environment
    return subprocess.Popen(
        line, cwd=cwd, env=kept, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def run(command, *overrides, cwd, status=0):
    """Run a stage to its end, which must have that status; what it said."""
    process = start(command, *overrides, cwd=cwd)
    output, _ = process.communicate(timeout=900)
    assert process.returncode == status, output
    return output


def prepare(folder, *, num_train, num_val=3):
    """Draw scenes and prepare them."""
    run(
        "draw",
        f"draw.num_train={num_train}",
        f"draw.num_val={num_val}",
        "draw.num_test=1",
        "draw.out=data",
        cwd=folder,
    )
    run("prepare", "prepare.workers=1", cwd=folder)
    return folder
