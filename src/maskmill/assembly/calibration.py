"""Fits the calibration of a trained model to the validation images."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from maskmill.canonical.categories import IGNORE_INDEX
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import RGB
from maskmill.data.dataset import SegmentationDataset
from maskmill.data.splits import Split
from maskmill.evaluation.calibration import (
    CalibrationResult,
    fit_scores,
    fit_temperature,
    pixel_gap,
    segment_gap,
)
from maskmill.metrics.functional.calibration_error import Bools, Floats, scored_segments
from maskmill.metrics.functional.segment_matching import Matches, find_matches
from maskmill.postprocess.calibration import Calibration
from maskmill.postprocess.mask_classification import SemanticMasks
from maskmill.postprocess.pixel_assignment import class_votes
from maskmill.postprocess.prediction import Prediction
from maskmill.postprocess.torch_network import TorchNetwork
from maskmill.serving.model_files import ModelFiles
from maskmill.serving.predictor import Predictor

MAX_IMAGES = 500  # of the validation split, evenly spaced
MAX_PIXELS = 50_000  # whose logits are in memory, evenly spaced in these images
BATCH_SIZE = 8
Change = Callable[[RGB], RGB]
NODE = "calibration"  # of the post-processing
TARGET = f"{Calibration.__module__}.{Calibration.__name__}"


@dataclass(frozen=True)
class Example:
    """A validation image (H, W, 3) uint8 RGB, its class indices (H, W) and its segments."""

    image: RGB
    classes: npt.NDArray[np.uint8]
    panoptic: Panoptic


class Examples:
    """Evenly spaced images of a split, read again for each pass.

    Args:
        split: with ground truth.
        max_images: at most.
    """

    def __init__(self, split: Split, max_images: int = MAX_IMAGES) -> None:
        self.dataset = SegmentationDataset(split)
        num_images = min(len(split), max_images)
        spaced = np.linspace(0, len(split) - 1, num_images)
        self.indices = spaced.round().astype(int).tolist()

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Example]:
        for index in self.indices:
            sample = self.dataset[index]
            image = np.ascontiguousarray(sample["image"].numpy().transpose(1, 2, 0))
            yield Example(image, sample["semantic"].numpy(), sample["panoptic"])


class Calibrator:
    """Passes validation images through a network, as `predict` does with whole images.

    Args:
        network: with its weights, in evaluation mode, on the device.
        files: describe the model; its own calibration is not used.
        examples: validation images.
        device: of the network.
    """

    def __init__(
        self, network: nn.Module, files: ModelFiles, examples: Examples, *, device: str = "cpu"
    ) -> None:
        self.network = network
        self.files = files
        self.examples = examples
        self.device = device

    def with_examples(self, examples: Examples) -> "Calibrator":
        """The same network with other images."""
        return Calibrator(self.network, self.files, examples, device=self.device)

    def fit(self) -> CalibrationResult:
        """Fit the temperature of pixels, and then the scores of segments under it."""
        logits, target = self._sample_pixels()
        temperature = fit_temperature(logits, target)
        score, correct = self._score_segments(Calibration(temperature))
        calibration = Calibration(temperature, *fit_scores(score, correct))
        return CalibrationResult(
            calibration,
            len(self.examples),
            pixel_gap(logits, target, temperature) if len(target) else None,
            segment_gap(score, correct, calibration) if len(score) else None,
        )

    def _sample_pixels(self) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Class logits (N, K) of labelled pixels, and their class indices (N,)."""
        num_pixels = max(1, MAX_PIXELS // len(self.examples))
        network = TorchNetwork(self.network, device=self.device)
        is_vote = isinstance(self.files.postprocess(), SemanticMasks)
        logits = [np.zeros((0, self.files.categories.num_outputs))]
        target = [np.zeros(0, np.int64)]
        for example in self.examples:
            pixels = _spaced_pixels(example.classes, num_pixels)
            images = torch.from_numpy(example.image).permute(2, 0, 1)[None].contiguous()
            outputs = network.tensors(images)
            if "semantic" in outputs:
                values = _gather(outputs["semantic"], pixels)
            elif is_vote:
                values = vote_logits(outputs, pixels, example.classes.shape[1])
            else:  # queries have no distribution over classes in a pixel
                continue
            logits.append(values)
            target.append(example.classes.ravel()[pixels].astype(np.int64))
        return np.concatenate(logits), np.concatenate(target)

    def _score_segments(self, calibration: Calibration) -> tuple[Floats, Bools]:
        """Scores (N,) of predicted segments, and whether they match."""
        return scored_segments(self._matches(calibration))

    def _matches(self, calibration: Calibration) -> Iterator[Matches]:
        categories = self.files.categories
        background = categories.background_index is not None
        for example, prediction in self.predictions(calibration):
            yield find_matches(
                prediction.panoptic, example.panoptic, categories, background=background
            )

    def predictions(
        self, calibration: Calibration, change: Change | None = None
    ) -> Iterator[tuple[Example, Prediction]]:
        """The prediction for each image under a calibration.

        Args:
            calibration: fitted.
            change: of the images, see `evaluation.shifts`; None: they are as they are.
        """
        postprocess = self.files.postprocess({NODE: calibration_node(calibration)})
        network = TorchNetwork(
            self.network, device=self.device, temperature=calibration.temperature
        )
        predictor = Predictor(network, postprocess)
        remaining = iter(self.examples)
        while batch := list(islice(remaining, BATCH_SIZE)):
            examples = list(map(partial(_changed, change), batch))
            images = list(map(attrgetter("image"), examples))
            yield from zip(examples, predictor(images, batch_size=BATCH_SIZE), strict=True)


def _changed(change: Change | None, example: Example) -> Example:
    return example if change is None else replace(example, image=change(example.image))


def is_calibrated(files: ModelFiles) -> bool:
    """Whether the post-processing of a model has a calibration."""
    return NODE in files.config["task"]["postprocess"]


def calibration_node(calibration: Calibration) -> dict[str, Any]:
    """The node of a calibration, an argument of post-processing in model.json."""
    return {
        "_target_": TARGET,
        "temperature": calibration.temperature,
        "slope": calibration.slope,
        "offset": calibration.offset,
    }


def with_postprocess(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a model whose post-processing has these arguments."""
    postprocess = {**config["task"]["postprocess"], **values}
    return {**config, "task": {**config["task"], "postprocess": postprocess}}


def _spaced_pixels(classes: npt.NDArray[np.uint8], num_pixels: int) -> npt.NDArray[np.int64]:
    """Indices (N,) of evenly spaced labelled pixels of a map (H, W)."""
    labelled = np.flatnonzero(classes != IGNORE_INDEX)
    if len(labelled) <= num_pixels:
        return labelled
    spaced = np.linspace(0, len(labelled) - 1, num_pixels).round().astype(np.int64)
    return labelled[spaced]


def _gather(logits: Tensor, pixels: npt.NDArray[np.int64]) -> Floats:
    """The logits (N, K) of some pixels of a map (1, K, H, W)."""
    index = torch.from_numpy(pixels).to(logits.device)
    return logits[0].flatten(1)[:, index].T.double().cpu().numpy()


def vote_logits(outputs: Mapping[str, Tensor], pixels: npt.NDArray[np.int64], width: int) -> Floats:
    """The logarithms (N, K) of the votes of queries for classes, see `vote_for_classes`."""
    class_logits = outputs["class_logits"][0].float().cpu().numpy()
    mask_logits = outputs["mask_logits"][0].float().cpu().numpy()
    votes = np.concatenate(list(class_votes(class_logits, mask_logits, pixels, width)), axis=1).T
    logits: Floats = np.log(np.maximum(votes, np.finfo(np.float32).tiny)).astype(np.float64)
    return logits
