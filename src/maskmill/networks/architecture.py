"""The architecture of a transformers model as plain values.

A model folder contains it, so that the network can be built without the checkpoint it started from.
"""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from transformers import PreTrainedConfig

Architecture = dict[str, Any]
Config = TypeVar("Config", bound=PreTrainedConfig)

# Values beside numbers: any other text could name a file, a repository of the hub or code.
LAYER_NAMES = ("hidden_act", "activation_function", "layer_type", "out_features", "stage_names")
BACKBONE = "backbone_config"
BACKBONES = ("swin", "resnet", "convnext", "dinov2")  # values of its `model_type`
WORD = re.compile(r"\w+")


def plain_architecture(config: PreTrainedConfig) -> Architecture:
    """The numbers and layer names of a configuration, and those of its backbone.

    Raises:
        ValueError: its backbone is not one of `BACKBONES`.
    """
    return _plain(config.to_dict())


def config_of(config_type: type[Config], architecture: Architecture, num_classes: int) -> Config:
    """The configuration of an architecture; nothing in it can lead to a file or to the hub.

    Args:
        config_type: of transformers.
        architecture: of `plain_architecture`, perhaps changed by others.
        num_classes: K.

    Raises:
        ValueError: its backbone is not one of `BACKBONES`.
    """
    config: Config = config_type(**_plain(architecture), num_labels=num_classes)
    return config


def require_one(checkpoint: str | None, architecture: Architecture | None) -> None:
    """Refuse a network with neither or both of a checkpoint and an architecture.

    Raises:
        ValueError: neither or both are set.
    """
    if (checkpoint is None) == (architecture is None):
        raise ValueError(
            f"Expected either `checkpoint` or `architecture`, but got {checkpoint!r} and "
            f"{architecture!r} - set network.checkpoint"
        )


def _plain(content: Mapping[str, Any]) -> Architecture:
    kept = {key: value for key, value in content.items() if _is_plain(key, value)}
    backbone = content.get(BACKBONE)
    if isinstance(backbone, Mapping):
        model_type = backbone.get("model_type")
        if model_type not in BACKBONES:
            raise ValueError(
                f"Expected a backbone of type {', '.join(BACKBONES)}, but got {model_type!r} - "
                "choose another checkpoint"
            )
        kept[BACKBONE] = {**_plain({**backbone, BACKBONE: None}), "model_type": model_type}
    return kept


def _is_plain(key: str, value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_plain(key, item) for item in value)
    if isinstance(value, str):
        return key in LAYER_NAMES and WORD.fullmatch(value) is not None
    return isinstance(value, int | float)
