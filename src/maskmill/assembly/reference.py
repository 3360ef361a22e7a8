"""Calibrates a trained model, and writes what `maskmill monitor` compares with, in one go."""

import logging
from pathlib import Path

from maskmill.assembly.calibration import Calibrator, Change, Examples, with_calibration
from maskmill.assembly.network_loading import load_network
from maskmill.data.splits import Split
from maskmill.evaluation.calibration import CalibrationResult
from maskmill.evaluation.label_free import shifted_scores
from maskmill.evaluation.observation import observe
from maskmill.evaluation.reference import (
    LabelledObservation,
    Reference,
    label_observation,
    write_reference,
)
from maskmill.evaluation.shifts import SHIFTS
from maskmill.postprocess.calibration import Calibration
from maskmill.serving.model_files import ModelFiles, write_model

log = logging.getLogger(__name__)

MAX_SHIFTED = 24  # validation images that are predicted with each change
MAX_TRAIN = 200  # training images that are measured


def write_calibrated(
    draft: ModelFiles, train: Split, val: Split, out: Path, *, device: str
) -> ModelFiles:
    """Write a model again with its calibration, and with its reference for `maskmill monitor`.

    The weights keep their bytes.

    Args:
        draft: the model without calibration.
        train: the training images.
        val: the validation images.
        out: the folder to write to.
        device: on which the images are predicted.
    """
    network = load_network(draft).to(device)
    calibrator = Calibrator(network, draft, Examples(val), device=device)
    result = calibrator.fit()
    reference = build_reference(calibrator, result.calibration, train)
    model = write_model(
        out,
        draft.weights(),
        with_calibration(draft.config, result.calibration),
        draft.categories,
        draft.data_digest,
        calibration=result.summary(),
        reference=write_reference(reference),
    )
    log.info("%s", describe_result(result))
    return model


def build_reference(calibrator: Calibrator, calibration: Calibration, train: Split) -> Reference:
    """Measure training images, validation images and changed copies of these.

    Args:
        calibrator: predicts the validation images.
        calibration: of the model.
        train: the training images.
    """
    categories = calibrator.files.categories
    images = []
    trained = calibrator.with_examples(Examples(train, MAX_TRAIN))
    for example, prediction in trained.predictions(calibration):
        images.append(observe(example.image, prediction))
    labelled = _label(calibrator, calibration)
    few = calibrator.with_examples(Examples(calibrator.examples.dataset.split, MAX_SHIFTED))
    scores = score_names(calibrator.files)
    shifted = []
    for name, change in SHIFTS.items():
        rows = _label(few, calibration, change)
        row = shifted_scores(name, labelled, rows, scores, categories)
        if row is not None:
            shifted.append(row)
    return Reference(images, labelled, shifted, scores)


def score_names(files: ModelFiles) -> list[str]:
    """The scores that are estimated for a model: PQ too if it separates objects."""
    keeps_stuff = files.config["task"]["postprocess"].get("keep_stuff")
    if keeps_stuff is None:  # semantic segmentation
        return ["mIoU"]
    return ["mIoU", "PQ" if keeps_stuff else "PQ/thing"]


def _label(
    calibrator: Calibrator, calibration: Calibration, change: Change | None = None
) -> list[LabelledObservation]:
    categories = calibrator.files.categories
    rows = []
    for example, prediction in calibrator.predictions(calibration, change):
        row = label_observation(
            example.image, prediction, example.panoptic, example.classes, categories
        )
        rows.append(row)
    return rows


def describe_result(result: CalibrationResult) -> str:
    """The fitted numbers and the errors before and after, in a line."""
    texts = [f"calibration on {result.num_images} validation images:"]
    texts.append(f"temperature {result.calibration.temperature:g}")
    for name, gap in [("pixels", result.pixels), ("segments", result.segments)]:
        if gap is not None:
            before = 100 * gap.ece_before
            texts.append(f"ECE of {name} {before:.1f} -> {100 * gap.ece_after:.1f} %")
    return "  ".join(texts)
