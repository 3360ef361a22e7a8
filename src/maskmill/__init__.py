"""maskmill: labelled images in, a registered and served segmentation model out.

import maskmill
trained = maskmill.train("photos", minutes=30, overrides=["source=camvid", "network=unet"])
prediction = maskmill.load_model(trained.folder)("photo.jpg")
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Libraries below us would ask the network for newer versions or report their use; whoever wants
# that sets these otherwise.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault(
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false"
)  # bars of one file each, in the middle of the log

if TYPE_CHECKING:
    from maskmill.assembly.python_model import Model, load_model
    from maskmill.reporting.results import (
        Checked,
        Predicted,
        Prepared,
        Registered,
        Scored,
        Trained,
    )
    from maskmill.stages.functions import check, evaluate, predict, prepare, register, train

__all__ = [
    "Checked",
    "Model",
    "Predicted",
    "Prepared",
    "Registered",
    "Scored",
    "Trained",
    "__version__",
    "check",
    "evaluate",
    "load_model",
    "predict",
    "prepare",
    "register",
    "train",
]
# Where the names are; without `maskmill.`, since whoever imports the package does not run these.
MODEL, RESULTS, FUNCTIONS = "assembly.python_model", "reporting.results", "stages.functions"
MODULES = {
    **dict.fromkeys(["Model", "load_model"], MODEL),
    **dict.fromkeys(
        ["Checked", "Prepared", "Trained", "Predicted", "Scored", "Registered"], RESULTS
    ),
    **dict.fromkeys(["check", "prepare", "train", "predict", "evaluate", "register"], FUNCTIONS),
}


def __getattr__(name: str) -> Any:
    """Import the Python interface on first use: its libraries take seconds."""
    if name in MODULES:
        return getattr(import_module(f"{__name__}.{MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
