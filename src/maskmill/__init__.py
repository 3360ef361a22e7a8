"""maskmill: labelled images in, a registered and served segmentation model out."""

import os

__version__ = "0.1.0"

# Libraries below us would ask the network for newer versions or report their use; whoever wants
# that sets these otherwise.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault(
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false"
)  # bars of one file each, in the middle of the log
