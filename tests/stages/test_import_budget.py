"""What a command imports before it does its work, since imports are most of what a user waits for.

Each command is imported in a process forked from one that has Hydra, from `check` on OpenCV, and
from `predict` on torch.
"""

import json
import subprocess
import sys

import pytest

TRAINING = ("lightning", "torchmetrics", "albumentations")
NETWORKS = ("torchvision", "timm", "segmentation_models_pytorch", "transformers")
MLFLOW = ("mlflow", "sqlalchemy", "pandas")
CHARTS = ("matplotlib.pyplot", "scipy.stats", "scipy.signal")
TORCH = ("torch", *NETWORKS, *TRAINING)
LEAN = "maskmill.assembly.lean_imports.import_torchmetrics()"
# command -> the modules of ours that it imports (with brackets: a call), the packages that none
# of them may import, and the most modules of Python in all: a tenth above what was counted.
BUDGETS = {
    "config": ([], (*TORCH, *MLFLOW, *CHARTS, "cv2"), 500),
    "compose": ([], (*TORCH, *MLFLOW, *CHARTS, "cv2"), 500),
    "check": ([], (*TORCH, *MLFLOW, *CHARTS), 850),
    "prepare": ([], (*TORCH, *MLFLOW, *CHARTS), 850),
    "draw": ([], (*TORCH, *MLFLOW, *CHARTS), 700),
    "evaluate": (["maskmill.assembly.scoring"], (*TORCH, *MLFLOW, *CHARTS), 900),
    "register": (["maskmill.assembly.registration"], (*TORCH, *CHARTS), 2600),
    "predict": (
        ["maskmill.assembly.prediction_job"],
        (*NETWORKS, *TRAINING, *MLFLOW, *CHARTS),
        2000,
    ),
    "train": (
        [LEAN, "maskmill.assembly.training_job", "maskmill.networks.panoptic_deeplab"],
        (
            *("transformers", "mlflow.server", "mlflow.pyfunc", "flask", "alembic"),
            *("scipy.optimize", *CHARTS),
        ),
        5800,
    ),
}
IMPORTS = """
import gc
gc.disable()  # a fifth of the time to import
import importlib, json, os, sys, threading
import hydra, pydantic

def report(command, modules):
    if os.fork():
        os.wait()
        return
    for name in [f"maskmill.stages.{command}", *modules]:
        path = name.removesuffix("()")
        if path == name:
            importlib.import_module(name)
        else:
            module, _, function = path.rpartition(".")
            getattr(importlib.import_module(module), function)()
    print(json.dumps([command, sorted(sys.modules)]), flush=True)
    if command == "train":
        import maskmill.stages.train_forked  # loaded ahead of a sweep, of which each job is forked
        print(json.dumps(["threads", list(map(str, threading.enumerate()))]), flush=True)
    os._exit(0)

for command, modules in json.loads(sys.argv[1]).items():
    if command == "check":
        import cv2, numpy
    if command == "predict":
        import torch
    report(command, modules)
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """Command -> the names of the modules that it imports."""
    modules = {command: budget[0] for command, budget in BUDGETS.items()}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, json.dumps(modules)],
        cwd=tmp_path_factory.mktemp("project"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(map(json.loads, done.stdout.splitlines()))


@pytest.mark.slow  # 12 s: torch, timm, Lightning and MLflow are really imported, once
@pytest.mark.parametrize("command", BUDGETS)
def test_a_command_imports_no_more_than_its_budget(imported, command):
    _, forbidden, most = BUDGETS[command]
    assert sorted(set(forbidden) & set(imported[command])) == []
    assert len(imported[command]) <= most


@pytest.mark.slow  # with the test above
def test_what_is_loaded_ahead_of_a_sweep_starts_no_thread_that_a_fork_would_lose(imported):
    (thread,) = imported["threads"]
    assert "_MainThread(" in thread
