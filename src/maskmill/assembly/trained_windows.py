"""Windows of the size of the crops that a model was trained with."""

import copy
from typing import Any

from maskmill.postprocess.prediction import Inference, Size
from maskmill.postprocess.windows import Tiling
from maskmill.serving.model_files import ModelFiles


def with_trained_windows(inference: Inference, files: ModelFiles) -> Inference:
    """The same inference, whose windows have the size of the training crops if they have none yet.

    Args:
        inference: of `predict`, or of a version.
        files: the model.

    Raises:
        ValueError: the model does not say what it was trained with, or the margins do not fit.
    """
    tiling = tiling_of(inference)
    if tiling is None or tiling.window is not None:
        return inference
    changed: Any = copy.copy(inference)
    changed.tiling = tiling.with_window(_crop_size(files))
    return changed


def tiling_of(inference: Inference) -> Tiling | None:
    """How an inference splits an image into windows; None if it does not."""
    tiling = getattr(inference, "tiling", None)
    return tiling if isinstance(tiling, Tiling) else None


def _crop_size(files: ModelFiles) -> Size:
    data = files.config.get("data")
    size = data.get("crop_size") if isinstance(data, dict) else None
    match size:
        case [int(height), int(width)] if height > 0 and width > 0:
            return height, width
    raise ValueError(
        f"{files.description}: expected the height and width of the training crops as "
        f"config.data.crop_size, but got {size!r} - set inference.window, as "
        "inference.window=[512,512]"
    )
