"""How a model predicts beyond its weights, so that a version answers as it was tested."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from maskmill.postprocess.prediction import Inference
from maskmill.serving.construction import PARTIAL, TARGET, construct
from maskmill.serving.description import PostprocessTargets

WHOLE_IMAGE = "maskmill.postprocess.whole_image.WholeImage"
INFERENCES = (
    WHOLE_IMAGE,
    "maskmill.postprocess.sliding_window.SlidingWindow",
    "maskmill.postprocess.stitched_windows.StitchedWindows",
)
VIEWS = "maskmill.postprocess.views.Views"
WHOLE: Mapping[str, Any] = {"_target_": WHOLE_IMAGE, "views": None}


@dataclass(frozen=True)
class PredictionSettings:
    """The settings of `predict` that change what a model predicts for an image.

    Args:
        inference: node of a part in `maskmill.postprocess`, see `Inference`.
        postprocess: values that replace those the model was trained with.
    """

    inference: Mapping[str, Any] = field(default_factory=lambda: WHOLE)
    postprocess: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "PredictionSettings":
        """Those among other settings; whole images and no change where none are given."""
        return cls(settings.get("inference") or WHOLE, settings.get("postprocess") or {})

    @property
    def is_default(self) -> bool:
        """Whole images, and post-processing as in training."""
        return self == PredictionSettings()

    def as_dict(self) -> dict[str, Any]:
        """As prediction.json, evidence.json and the description of a version contain them."""
        return {"inference": dict(self.inference), "postprocess": dict(self.postprocess)}

    def text(self) -> str:
        """JSON that is equal for equal settings; empty for the default ones."""
        return "" if self.is_default else json.dumps(self.as_dict(), sort_keys=True)

    def make_inference(self, where: str = "prediction") -> Inference:
        """The object through which images pass.

        Args:
            where: these settings stand, for messages.

        Raises:
            ValueError: the node names anything but an inference of this package, or has an argument
                or value that it does not take.
        """
        name = f"{where}.inference"
        _require(self.inference, INFERENCES, name)
        views = self.inference.get("views")
        if views is not None:
            _require(views, (VIEWS,), f"{name}.views")
        if self.inference.get("window", ()) is None:
            raise ValueError(
                f"{name}.window: expected height and width in px, but got None - set it, or "
                "predict, evaluate and register again"
            )
        inference: Inference = construct(self.inference, name, PostprocessTargets())
        return inference

    def check(self, where: str) -> None:
        """Check what a description says, apart from the names of the post-processing's values.

        Raises:
            ValueError: see `make_inference`; or a key of the post-processing is the name of no
                argument, such as `_partial_`.
        """
        self.make_inference(where)
        for key in self.postprocess:
            if key.startswith("_"):
                raise ValueError(
                    f"{where}.postprocess.{key}: expected names of arguments, but got {key} - "
                    "register the model again"
                )


def _require(node: Any, targets: Collection[str], name: str) -> None:
    target = node.get(TARGET) if isinstance(node, Mapping) else node
    if target not in targets:
        raise ValueError(
            f"{name}: expected one of {', '.join(targets)}, but got {target!r} - "
            "predict and evaluate with one of these, and register again"
        )
    if PARTIAL in node:
        raise ValueError(
            f"{name}.{PARTIAL}: expected arguments by name, but got {PARTIAL} - remove it"
        )


def in_words(settings: PredictionSettings) -> str:
    """How a model predicts, for people.

    Example:
        >>> in_words(PredictionSettings(postprocess={"top_k": 5}))
        'whole image, top_k=5'
    """
    name = str(settings.inference["_target_"]).rpartition(".")[2]
    parts = [re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()]
    for key, value in {**settings.inference, **settings.postprocess}.items():
        if key == "views" and value is not None:
            parts.append(f"mean of {_num_views(value)} views")
        elif key not in {"_target_", "views"}:
            parts.append(f"{key}={value}")
    return ", ".join(parts)


def _num_views(views: Mapping[str, Any]) -> int:
    flips = 2 ** (bool(views.get("horizontal", True)) + bool(views.get("vertical", False)))
    return flips * len(views.get("scales", [1.0]))
