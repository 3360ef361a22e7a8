"""The network of a model folder: what the description names, with the weights beside it."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from maskmill.assembly.targets import ENSEMBLE, MAX_NETWORKS, NetworkTargets
from maskmill.serving.construction import MAX_DEPTH, construct
from maskmill.serving.model_files import ModelFiles

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
    if depth > MAX_DEPTH or not isinstance(value, (Mapping, list)):
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
    if target == ENSEMBLE:
        _check_ensemble(node, name, is_inside=depth > 0)
    return node


def _check_ensemble(node: Mapping[str, Any], name: str, *, is_inside: bool) -> None:
    """Whole networks alone: a decoder without its encoder would ask a hub for one."""
    networks = node.get("networks")
    number = len(networks) if isinstance(networks, list) else 0
    if is_inside or not 2 <= number <= MAX_NETWORKS:
        found = "an ensemble inside another part" if is_inside else f"{number} networks"
        raise ValueError(
            f"{name}: expected an ensemble of 2 to {MAX_NETWORKS} networks, but got {found} - "
            "make the ensemble again"
        )
    for index, network in enumerate(networks or []):
        target = str(network.get("_target_")) if isinstance(network, Mapping) else ""
        is_part = target == ENCODER or target.startswith(DECODERS)
        if not target or is_part or network.get("_partial_") is not True:
            raise ValueError(
                f"{name}.networks.{index}: expected a network with `_partial_: true`, but got "
                f"{target or network!r} - make the ensemble again"
            )


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
