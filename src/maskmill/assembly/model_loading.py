"""A model folder or a registered model, ready to predict."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from maskmill.assembly.runtimes import choose_runtime, open_network, require_runtime
from maskmill.assembly.settings import Runtime
from maskmill.assembly.targets import NetworkTargets
from maskmill.postprocess.prediction import Inference
from maskmill.serving.construction import MAX_DEPTH, construct
from maskmill.serving.model_files import ModelFiles, read_model
from maskmill.serving.predictor import Predictor

REGISTRY = "models:/"
ENCODER = "maskmill.networks.encoders.TimmEncoder"
CHECKPOINTS = (
    "maskmill.networks.eomt.from_checkpoint",
    "maskmill.networks.mask2former.from_checkpoint",
)
DECODERS = "segmentation_models_pytorch."
# How the arguments of these decoders begin that are numbers and names of layers
DECODER_ARGUMENTS = (
    *("_target_", "_partial_", "decoder_", "psp_", "upsampling", "activation"),
    *("encoder_depth", "encoder_output_stride"),
)
MAX_SIZE = 16_384  # of widths, queries, layers and images in px: ten times what networks have


@dataclass(frozen=True)
class LoadedModel:
    """A predictor, the description of its model, and the runtime of its network."""

    predictor: Predictor
    files: ModelFiles
    runtime: str = "torch"


def load_network(files: ModelFiles) -> nn.Module:
    """The network of a trained model with its weights, in evaluation mode, on the CPU.

    Raises:
        ValueError: the description names other code than networks, or values that they refuse; or
            the weights are damaged or belong to another network.
    """
    name = f"{files.description}: config.network"
    num_classes = files.categories.num_outputs
    node = without_files(files.config["network"], name)
    network = construct(node, name, NetworkTargets(), num_classes=num_classes)
    if not isinstance(network, nn.Module):
        raise ValueError(
            f"{name}: expected a network, but got a {type(network).__name__} - "
            "train the model again"
        )
    _load_weights(network, files)
    return network.eval()


def described_network(node: Mapping[str, Any], network: Any) -> dict[str, Any]:
    """The node of a network for model.json: a checkpoint is replaced by its architecture."""
    architecture = getattr(network, "architecture", None)
    if architecture is None:
        return dict(node)
    return {**node, "checkpoint": None, "architecture": architecture}


def without_files(value: Any, name: str, depth: int = 0) -> Any:
    """A network's node with which no constructor reads a file or asks a hub.

    The model's own weights follow, so those that its encoder started from are not read again.

    Raises:
        ValueError: it has arguments that lead to a file, a number that no network has, or too many
            nested levels.
    """
    if isinstance(value, int) and abs(value) > MAX_SIZE:
        raise ValueError(
            f"{name}: expected whole numbers up to {MAX_SIZE}, but got {value} - "
            "train the model again"
        )
    if depth > MAX_DEPTH or not isinstance(value, Mapping | list):
        return value  # the levels are counted by `construct`
    if isinstance(value, list):
        return [without_files(item, f"{name}.{i}", depth + 1) for i, item in enumerate(value)]
    node = {key: without_files(item, f"{name}.{key}", depth + 1) for key, item in value.items()}
    target = node.get("_target_")
    if target == ENCODER:
        node |= {"pretrained": False, "weights": None}
    if target in CHECKPOINTS:
        node["checkpoint"] = None
        if not node.get("architecture"):
            raise ValueError(
                f"{name}: expected the `architecture` of a network that began as a checkpoint, but "
                "an earlier version left it out - train the model again"
            )
    if str(target).startswith(DECODERS):
        _check_decoder(node, name)
    return node


def _check_decoder(node: Mapping[str, Any], name: str) -> None:
    """A decoder gets its encoder from the network; further arguments would reach timm's loader."""
    for key in node:
        if not key.startswith(DECODER_ARGUMENTS):
            raise ValueError(
                f"{name}.{key}: expected settings of a decoder, but got {key!r}, which a model "
                "file must not set - train the model again"
            )
    if node.get("_partial_") is not True:
        raise ValueError(
            f"{name}._partial_: expected true for a decoder, but got {node.get('_partial_')!r} - "
            "train the model again"
        )


def _load_weights(network: nn.Module, files: ModelFiles) -> None:
    weights = files.weights()
    expected = network.state_dict()
    misfits = [f"{key} is missing" for key in expected.keys() - weights.keys()]
    misfits += [f"{key} is unknown" for key in weights.keys() - expected.keys()]
    for key in expected.keys() & weights.keys():
        given = weights[key]
        wanted = expected[key]
        if given.shape != wanted.shape or _kind(given) != _kind(wanted):
            misfits.append(
                f"{key} is {given.dtype} {tuple(given.shape)} and not "
                f"{wanted.dtype} {tuple(wanted.shape)}"
            )
    if misfits:
        raise ValueError(
            f"{files.folder}: expected the weights of the network in {files.description.name}, but "
            f"{len(misfits)} tensors do not fit: {'; '.join(sorted(misfits)[:3])} - either copy "
            "both files again or train the model again"
        )
    network.load_state_dict(weights)


def _kind(tensor: Tensor) -> tuple[bool, bool]:
    """Weights may be stored with fewer bits, but not as another kind of number."""
    return tensor.is_floating_point(), tensor.is_complex()


def load_model(
    name: str,
    *,
    device: str,
    inference: Inference | None = None,
    postprocess: Mapping[str, Any] | None = None,
    runtime: Runtime = "auto",
) -> LoadedModel:
    """Make a model ready to predict.

    Args:
        name: a folder that `train` or `export` wrote, or models:/NAME@ALIAS, models:/NAME/VERSION.
        device: cpu, cuda or cuda:N.
        inference: how images go through the network; None: each image as a whole.
        postprocess: values that replace those the model was trained with.
        runtime: what runs the network; auto: see `choose_runtime`.

    Raises:
        FileNotFoundError: the folder holds no model, or none for this runtime.
        ValueError: the registry has no such model, or its post-processing has no such argument, or
            the runtime cannot run it.
    """
    _require_device(device)
    folder = _registered(name) if name.startswith(REGISTRY) else Path(name)
    files = read_model(folder)
    chosen = choose_runtime(folder, device, inference) if runtime == "auto" else runtime
    require_runtime(folder, chosen)
    network = load_network(files) if chosen.startswith("torch") else None
    segments = files.postprocess(postprocess or {})
    temperature = segments.table.calibration.temperature
    runner = open_network(folder, chosen, device, network, temperature=temperature)
    return LoadedModel(Predictor(runner, segments, inference=inference), files, chosen)


def _registered(uri: str) -> Path:
    """The folder of a registered model, or of its exports, which contains the model too."""
    from maskmill.tracking.exports import download_exports  # MLflow takes seconds to import

    return download_exports(uri)


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
