"""maskmill: labelled images in, a registered and served segmentation model out.

from maskmill import load_model
model = load_model("models:/street@champion")
prediction = model("photo.jpg")
"""

import os
from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Libraries below us would ask the network for newer versions or report their use; whoever wants
# that sets these otherwise.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault(
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false"
)  # bars of one file each, in the middle of the log

PUBLIC = ("Model", "load_model")
MODULE = "assembly.python_model"  # without `maskmill.`: whoever imports the package does not run it


def __getattr__(name: str) -> Any:
    """Import the Python interface on first use: torch takes seconds."""
    if name in PUBLIC:
        return getattr(import_module(f"{__name__}.{MODULE}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *PUBLIC])
