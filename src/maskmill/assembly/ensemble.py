"""Several models that predict as one, for example those of the folds of a cross-validation."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from maskmill.postprocess.mask_classification import PanopticMasks, SemanticMasks
from maskmill.serving.model_files import ModelFiles


class Ensemble(nn.Module):
    """The mean outputs of several networks, of class logits too, as nnU-Net averages its folds.

    Args:
        networks: in evaluation mode, with the same outputs.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The mean of each output.

        Args:
            images: (B, 3, H, W) uint8.
        """
        total: dict[str, Tensor] = dict(self.networks[0](images))
        for network in self.networks[1:]:
            for name, value in network(images).items():
                total[name] = total[name] + value
        return {name: torch.div(value, len(self.networks)) for name, value in total.items()}


def describe_ensemble(members: Sequence[ModelFiles]) -> ModelFiles:
    """The description of several models as one.

    Post-processing and inference are those of the first. No calibration is left, since each was
    fitted to one network.

    Args:
        members: two or more models.

    Raises:
        ValueError: the models have other classes or another post-processing than the first, or
            their outputs are masks of queries, which have no common order.
    """
    first = members[0]
    if isinstance(first.postprocess(), PanopticMasks | SemanticMasks):
        raise ValueError(
            f"{first.description}: expected outputs for each pixel, whose mean over models is "
            "defined, but the queries of mask classification are in no common order - "
            "give predict.model one model"
        )
    for member in members[1:]:
        _require_equal(member, first)
    task = first.config["task"]
    postprocess = {**task["postprocess"], "calibration": None}
    fingerprints = " ".join(member.fingerprint for member in members)
    return replace(
        first,
        config={**first.config, "task": {**task, "postprocess": postprocess}},
        fingerprint=hashlib.sha256(fingerprints.encode()).hexdigest(),
        calibration=None,
        reference=None,
    )


def _require_equal(member: ModelFiles, first: ModelFiles) -> None:
    if member.categories != first.categories:
        raise ValueError(
            f"{member.description}: expected the classes of {first.description}, but got "
            f"{_names(member)} in place of {_names(first)} - give predict.model models of the same "
            "data set"
        )
    kinds = [files.config["task"]["postprocess"]["_target_"] for files in (first, member)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"{member.description}: expected post-processing by {kinds[0]}, as of "
            f"{first.description}, but got {kinds[1]} - give predict.model models of one task"
        )


def _names(files: ModelFiles) -> str:
    return ", ".join(category.name for category in files.categories)
