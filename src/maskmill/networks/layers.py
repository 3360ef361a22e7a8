"""How a backbone's layers learn: which are frozen, and how fast the others go, from the input on."""

from collections.abc import Iterator
from dataclasses import dataclass

from timm.layers import freeze_batch_norm_2d
from timm.models import group_parameters
from torch import nn

ATTRIBUTE = "places"  # where a backbone keeps its `Places`; plain data, not part of its state


@dataclass(frozen=True)
class Learning:
    """What a configuration asks of a backbone's layers.

    Args:
        frozen_stages: so many stages from the input on keep their weights and statistics.
        frozen_batch_norm: all batch norms keep theirs.
        layer_decay: factor of the learning rate from each layer to the one before it.
    """

    frozen_stages: int
    frozen_batch_norm: bool
    layer_decay: float


@dataclass(frozen=True)
class Places:
    """For each parameter of a backbone its stage, counted from the stem, and the factor of its learning rate."""

    stage: dict[str, int]
    lr_scale: dict[str, float]


def set_learning(backbone: nn.Module, reference: nn.Module, learning: Learning) -> None:
    """Freeze, and note what optimisers and callbacks will ask for.

    Args:
        backbone: timm's feature extractor, changed in place.
        reference: the whole timm model, which knows its layers.
        learning: what is asked.

    Raises:
        ValueError: the backbone has fewer stages than are to be frozen.
    """
    layers = _places(backbone, reference, coarse=False) if learning.layer_decay < 1 else {}
    keep_learning(backbone, _places(backbone, reference, coarse=True), learning, layers=layers)


def keep_learning(
    backbone: nn.Module,
    stages: dict[str, int],
    learning: Learning,
    *,
    layers: dict[str, int] | None = None,
) -> None:
    """The same with known places.

    Args:
        backbone: changed in place; parameters it has beside those named learn as the rest of the network.
        stages: parameter names to stages from 0.
        learning: what is asked.
        layers: parameter names to layers from 0, for the decay; None is the stages.

    Raises:
        ValueError: there are fewer stages than are to be frozen.
    """
    last = max(stages.values(), default=0)
    if learning.frozen_stages > last + 1:
        raise ValueError(
            f"Expected `frozen_stages` up to the {last + 1} stages of this backbone, but got {learning.frozen_stages} - freeze fewer"
        )
    layers = stages if layers is None else layers
    depth = (
        max(layers.values(), default=0) + 1
    )  # the last layer is one step from the decoder, as in BEiT (arXiv:2106.08254), app. H
    scale = {name: learning.layer_decay ** (depth - place) for name, place in layers.items()}
    setattr(backbone, ATTRIBUTE, Places(stages, scale))
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(stages.get(name, last) >= learning.frozen_stages)
    if learning.frozen_batch_norm:
        freeze_batch_norm_2d(backbone)
    elif learning.frozen_stages:
        _freeze_norms_without_gradient(backbone)


def learned_parameters(network: nn.Module) -> Iterator[tuple[nn.Parameter, int | None, float]]:
    """Every parameter of a network that is trained, with the stage of its backbone (None elsewhere) and the factor of its learning rate."""
    known: dict[int, tuple[int | None, float]] = {}
    for module in network.modules():
        if isinstance(places := getattr(module, ATTRIBUTE, None), Places):
            named = dict(module.named_parameters())
            known |= {
                id(named[key]): (stage, places.lr_scale.get(key, 1.0))
                for key, stage in places.stage.items()
                if key in named
            }
    for parameter in network.parameters():
        if parameter.requires_grad:
            yield parameter, *known.get(id(parameter), (None, 1.0))


def _places(backbone: nn.Module, reference: nn.Module, *, coarse: bool) -> dict[str, int]:
    """Parameter names of the backbone to timm's layer numbers, from 0 at the input."""
    matcher = reference.group_matcher(coarse=coarse)  # type: ignore[operator] # of timm models
    places: dict[str, int] = group_parameters(reference, matcher, reverse=True)
    # An extractor may have joined the first two parts of a name: stages.0.blocks -> stages_0.blocks
    joined = {name.replace(".", "_", 1): place for name, place in places.items()}
    return {name: places.get(name, joined.get(name, 0)) for name, _ in backbone.named_parameters()}


def _freeze_norms_without_gradient(module: nn.Module) -> None:
    """Batch norms whose weights are frozen keep their statistics too."""
    for name, child in module.named_children():
        own = list(child.parameters(recurse=False))
        if own and not any(value.requires_grad for value in own):
            setattr(module, name, freeze_batch_norm_2d(child))  # itself where it is no batch norm
        else:
            _freeze_norms_without_gradient(child)
