"""Fits thresholds and calibration to images, and writes what `maskmill monitor` compares with."""

import logging
from dataclasses import replace

from maskmill.assembly.calibration import (
    NODE,
    Calibrator,
    Change,
    Examples,
    calibration_node,
    is_calibrated,
    with_postprocess,
)
from maskmill.assembly.network_loading import load_network
from maskmill.assembly.threshold_fit import MAX_IMAGES, FittedThresholds, fit_thresholds
from maskmill.assembly.train_settings import TrainSettings
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
from maskmill.postprocess.torch_network import TorchNetwork
from maskmill.serving.model_files import ModelFiles, write_model

log = logging.getLogger(__name__)

MAX_SHIFTED = 24  # validation images that are predicted with each change
MAX_TRAIN = 200  # training images that are measured
THRESHOLDS = "thresholds"  # in the summary of a calibration


def write_calibrated(
    draft: ModelFiles, train: Split, val: Split, settings: TrainSettings, *, device: str
) -> ModelFiles:
    """Write a model again with its calibration, and with its reference for `maskmill monitor`.

    The weights keep their bytes.

    Args:
        draft: the model without calibration.
        train: the training images.
        val: the validation images.
        settings: the folder to write to, and whether thresholds are fitted before.
        device: on which the images are predicted.
    """
    network = load_network(draft).to(device)
    thresholds = None
    if settings.tune_thresholds:
        examples = Examples(val, MAX_IMAGES)
        metric = score_names(draft)[-1]
        forward = TorchNetwork(network, device=device)
        thresholds = fit_thresholds(forward, draft, examples, metric)
    if thresholds is not None:
        draft = replace(draft, config=with_postprocess(draft.config, thresholds.values))
    calibrator = Calibrator(network, draft, Examples(val), device=device)
    result = calibrator.fit()
    reference = build_reference(calibrator, result.calibration, train)
    summary = result.summary()
    if settings.tune_thresholds:
        summary[THRESHOLDS] = thresholds.summary() if thresholds is not None else None
    model = write_model(
        settings.out,
        draft.weights(),
        with_postprocess(draft.config, {NODE: calibration_node(result.calibration)}),
        draft.categories,
        draft.data_digest,
        calibration=summary,
        reference=write_reference(reference),
    )
    if settings.tune_thresholds:
        log.info("%s", describe_thresholds(thresholds))
    log.info("%s", describe_result(result))
    return model


def is_fitted(files: ModelFiles, settings: TrainSettings) -> bool:
    """Was exactly what these settings ask for fitted to this model?"""
    is_tuned = THRESHOLDS in (files.calibration or {})
    return is_calibrated(files) == settings.calibrate and is_tuned == settings.tune_thresholds


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


def describe_thresholds(fitted: FittedThresholds | None) -> str:
    """The chosen values and the score before and after, in a line."""
    if fitted is None:
        return "thresholds: nothing to fit (a task without objects, or no segment in val)"
    chosen = "as configured"
    if fitted.values:
        chosen = ", ".join(f"{name} {value}" for name, value in fitted.values.items())
    scores = f"{fitted.metric} {100 * fitted.before:.1f} -> {100 * fitted.after:.1f} %"
    return f"thresholds on {fitted.num_images} validation images: {chosen}  {scores}"


def describe_result(result: CalibrationResult) -> str:
    """The fitted numbers and the errors before and after, in a line."""
    texts = [f"calibration on {result.num_images} validation images:"]
    texts.append(f"temperature {result.calibration.temperature:g}")
    for name, gap in [("pixels", result.pixels), ("segments", result.segments)]:
        if gap is not None:
            before = 100 * gap.ece_before
            texts.append(f"ECE of {name} {before:.1f} -> {100 * gap.ece_after:.1f} %")
    return "  ".join(texts)
