"""A model folder or a registered model, ready to predict."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from torch import nn

from maskmill.assembly.build import build
from maskmill.postprocess.prediction import Inference, Network
from maskmill.serving.model_files import ModelFiles, read_model
from maskmill.serving.predictor import Predictor
from maskmill.serving.program import load_program

REGISTRY = "models:/"


@dataclass(frozen=True)
class LoadedModel:
    """A predictor and the description of its model."""

    predictor: Predictor
    files: ModelFiles


def load_network(files: ModelFiles) -> nn.Module:
    """The network of a trained model with its weights, in evaluation mode, on the CPU."""
    node = OmegaConf.create(files.config["network"])
    if (
        "encoder" in node
    ):  # the model's own weights follow, so pretrained ones need not be on this machine
        node.encoder.update(pretrained=False, weights=None)
    network = build(node, nn.Module, num_classes=files.categories.num_outputs)
    network.load_state_dict(files.weights())
    return network.eval()


def load_model(
    name: str,
    *,
    device: str,
    inference: Inference | None = None,
    postprocess: Mapping[str, Any] | None = None,
) -> LoadedModel:
    """Make a model ready to predict.

    Args:
        name: a folder that `train` wrote, or models:/NAME@ALIAS, models:/NAME/VERSION.
        device: cpu, cuda or cuda:N.
        inference: how images go through the network; None: each image as a whole.
        postprocess: values that replace those the model was trained with.

    Raises:
        FileNotFoundError: the folder holds no model.
        ValueError: the registry has no such model, or its post-processing has no such argument.
    """
    files, network = (
        _registered(name, device) if name.startswith(REGISTRY) else _trained(Path(name), device)
    )
    predictor = Predictor(
        network, files.postprocess(postprocess or {}), inference=inference, device=device
    )
    return LoadedModel(predictor, files)


def _trained(folder: Path, device: str) -> tuple[ModelFiles, Network]:
    files = read_model(folder)
    return files, load_network(files).to(device)


def _registered(uri: str, device: str) -> tuple[ModelFiles, Network]:
    from maskmill.tracking.models import (
        download,  # MLflow takes seconds to import, and a folder needs none
    )

    folder = download(uri)
    return read_model(folder), load_program(folder, device=device)
