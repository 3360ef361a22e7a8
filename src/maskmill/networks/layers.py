"""How a backbone's layers are trained: which are frozen, and the learning rate of the others."""

from collections.abc import Iterator
from dataclasses import dataclass

from timm.layers import freeze_batch_norm_2d
from timm.models import group_parameters
from torch import nn

ATTRIBUTE = (
    "layer_positions"  # of a backbone: its `LayerPositions`, which are not part of its state
)


@dataclass(frozen=True)
class FineTuning:
    """How to train a backbone's layers.

    Args:
        frozen_stages: number of stages, counted from the input, that keep their weights and
            batch-norm statistics.
        frozen_batch_norm: all batch norms keep their weights and statistics.
        layer_decay: factor of the learning rate from each layer to the layer before it.
    """

    frozen_stages: int
    frozen_batch_norm: bool
    layer_decay: float


@dataclass(frozen=True)
class LayerPositions:
    """The stage and learning-rate factor of each parameter of a backbone.

    Args:
        stage: parameter name -> stage, counted from the stem.
        lr_scale: parameter name -> factor of its learning rate.
    """

    stage: dict[str, int]
    lr_scale: dict[str, float]


def set_fine_tuning(backbone: nn.Module, reference: nn.Module, fine_tuning: FineTuning) -> None:
    """Freeze layers of a timm backbone, and store the positions of all its parameters.

    Args:
        backbone: timm's feature extractor, changed in place.
        reference: the whole timm model, which knows its layers.
        fine_tuning: how to train the layers.

    Raises:
        ValueError: `frozen_stages` is larger than the number of stages.
    """
    layers: dict[str, int] = {}
    if fine_tuning.layer_decay < 1:
        layers = _positions(backbone, reference, coarse=False)
    stages = _positions(backbone, reference, coarse=True)
    set_fine_tuning_of_stages(backbone, stages, fine_tuning, layers=layers)


def set_fine_tuning_of_stages(
    backbone: nn.Module,
    stages: dict[str, int],
    fine_tuning: FineTuning,
    *,
    layers: dict[str, int] | None = None,
) -> None:
    """Freeze layers of a backbone with known stages, and store the positions of its parameters.

    Args:
        backbone: changed in place; parameters that are not in `stages` are trained like the rest of
            the network.
        stages: parameter name -> stage, from 0.
        fine_tuning: how to train the layers.
        layers: parameter name -> layer, from 0, for `layer_decay`; None uses the stages.

    Raises:
        ValueError: `frozen_stages` is larger than the number of stages.
    """
    last_stage = max(stages.values(), default=0)
    if fine_tuning.frozen_stages > last_stage + 1:
        raise ValueError(
            f"Expected `frozen_stages` up to the {last_stage + 1} stages of this backbone, "
            f"but got {fine_tuning.frozen_stages} - freeze fewer"
        )
    layers = stages if layers is None else layers
    # The last layer is one step from the decoder, as in BEiT (arXiv:2106.08254), app. H.
    num_layers = max(layers.values(), default=0) + 1
    lr_scale = {}
    for name, layer in layers.items():
        lr_scale[name] = fine_tuning.layer_decay ** (num_layers - layer)
    setattr(backbone, ATTRIBUTE, LayerPositions(stages, lr_scale))
    for name, parameter in backbone.named_parameters():
        is_trained = stages.get(name, last_stage) >= fine_tuning.frozen_stages
        parameter.requires_grad_(is_trained)
    if fine_tuning.frozen_batch_norm:
        freeze_batch_norm_2d(backbone)
    elif fine_tuning.frozen_stages:
        _freeze_norms_without_gradient(backbone)


def learned_parameters(network: nn.Module) -> Iterator[tuple[nn.Parameter, int | None, float]]:
    """Every trained parameter of a network, its backbone stage and its learning-rate factor.

    The stage of a parameter outside the backbone is None, and its factor is 1.
    """
    known: dict[int, tuple[int | None, float]] = {}
    for module in network.modules():
        positions = getattr(module, ATTRIBUTE, None)
        if not isinstance(positions, LayerPositions):
            continue
        parameters = dict(module.named_parameters())
        for name, stage in positions.stage.items():
            if name in parameters:
                known[id(parameters[name])] = (stage, positions.lr_scale.get(name, 1.0))
    for parameter in network.parameters():
        if parameter.requires_grad:
            stage_or_none, lr_scale = known.get(id(parameter), (None, 1.0))
            yield parameter, stage_or_none, lr_scale


def _positions(backbone: nn.Module, reference: nn.Module, *, coarse: bool) -> dict[str, int]:
    """Parameter name of the backbone -> timm's layer number, from 0 at the input."""
    matcher = reference.group_matcher(coarse=coarse)  # type: ignore[operator] # of timm models
    layers: dict[str, int] = group_parameters(reference, matcher, reverse=True)
    # A feature extractor may join the first two parts of a name: stages.0.blocks -> stages_0.blocks
    for name, layer in list(layers.items()):
        layers.setdefault(name.replace(".", "_", 1), layer)
    return {name: layers.get(name, 0) for name, _ in backbone.named_parameters()}


def _freeze_norms_without_gradient(module: nn.Module) -> None:
    """Freeze the statistics of batch norms whose weights are frozen."""
    for name, child in module.named_children():
        parameters = list(child.parameters(recurse=False))
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            frozen = freeze_batch_norm_2d(child)  # the child itself if it is not a batch norm
            setattr(module, name, frozen)
        else:
            _freeze_norms_without_gradient(child)
