"""A model folder or a registered model, ready to predict."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from maskmill.assembly.auto_inference import AutoInference, ChosenInference
from maskmill.assembly.network_loading import load_network
from maskmill.assembly.runtimes import choose_runtime, open_network, require_runtime
from maskmill.assembly.settings import Runtime
from maskmill.assembly.trained_windows import with_trained_windows
from maskmill.serving.model_files import ModelFiles, read_model
from maskmill.serving.predictor import Predictor

REGISTRY = "models:/"
AUTO = AutoInference()


@dataclass(frozen=True)
class LoadedModel:
    """A predictor, the description of its model, and the runtime of its network."""

    predictor: Predictor
    files: ModelFiles
    runtime: str = "torch"


def load_model(
    name: str,
    *,
    device: str,
    inference: ChosenInference = AUTO,
    postprocess: Mapping[str, Any] | None = None,
    runtime: Runtime = "auto",
) -> LoadedModel:
    """Make a model ready to predict.

    Args:
        name: a folder that `train`, `ensemble` or `export` wrote, or models:/NAME@ALIAS,
            models:/NAME/VERSION.
        device: cpu, cuda or cuda:N.
        inference: how images go through the network; windows without a size get that of the
            crops that the model was trained with.
        postprocess: values that replace those the model was trained with, or was tested with.
        runtime: what runs the network; auto: see `choose_runtime`.

    Raises:
        FileNotFoundError: the folder holds no model, or none for this runtime.
        ValueError: the registry has no such model, or its post-processing has no such argument, or
            the runtime cannot run it.
    """
    _require_device(device)
    folder = _folder(name)
    files = read_model(folder)
    if isinstance(inference, AutoInference):
        inference = files.prediction.make_inference()
    inference = with_trained_windows(inference, files)
    chosen = choose_runtime(files, device, inference) if runtime == "auto" else runtime
    require_runtime(folder, chosen)
    network = load_network(files) if chosen.startswith("torch") else None
    segments = files.postprocess(postprocess or {})
    temperature = segments.table.calibration.temperature
    runner = open_network(folder, chosen, device, network, temperature=temperature)
    return LoadedModel(Predictor(runner, segments, inference=inference), files, chosen)


def _folder(name: str) -> Path:
    """The folder of a model; of a registered one with its exports, which contains the model too."""
    if not name.startswith(REGISTRY):
        return Path(name)
    from maskmill.tracking.exports import download_exports  # MLflow takes seconds to import

    return download_exports(name)


def _require_device(device: str) -> None:
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ValueError(
            f"predict.device: expected cpu, cuda or cuda:N, but got {device!r} - choose one"
        ) from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"predict.device: expected a GPU for {device!r}, but PyTorch sees none - either set "
            "predict.device=cpu, or check `nvidia-smi` and that the installed torch is a CUDA build"
        )
