"""Predictions and evaluations as the stages write them, without a network."""

import numpy as np
import torch

from drawn_folders import moved
from maskmill.assembly import scoring
from maskmill.assembly.settings import EvaluateSettings
from maskmill.canonical.folder import PanopticFolder
from maskmill.canonical.panoptic import Panoptic
from maskmill.postprocess.prediction import Prediction
from maskmill.serving.formats.canonical import Canonical
from maskmill.serving.image_folder import find_images
from maskmill.serving.model_files import write_model
from maskmill.serving.prediction_folder import finish_folder
from maskmill.serving.unfinished import Outcome, UnfinishedFolder
from strategies import CATEGORIES

CONFIG = {
    "network": {"_target_": "maskmill.networks.decoders.Unet"},
    "task": {"postprocess": {"_target_": "maskmill.postprocess.semantic.SemanticSegments"}},
}
WHOLE = {"_target_": "maskmill.postprocess.whole_image.WholeImage", "views": None}
SETTINGS = {"inference": WHOLE, "postprocess": {}}


def write_tiny_model(folder, number=0):
    """A model whose fingerprint depends on a number."""
    return write_model(folder, {"w": torch.full((1,), number)}, CONFIG, CATEGORIES, "data")


def predict(folder, model, truth, *, by=(2,), without=None, settings=SETTINGS):
    """What `maskmill predict` writes of a model that shifts every segment to the right.

    Args:
        folder: to write.
        model: its files.
        truth: the split.
        by: px of the shift, of one image after another.
        without: id of a category that the model never finds.
        settings: of the prediction.
    """
    images = find_images(truth)
    split = PanopticFolder(truth)
    output_format = Canonical(categories=model.categories)
    unfinished = UnfinishedFolder(folder)
    batches = [range(index, index + 1) for index in range(len(images.records))]
    for index, record in enumerate(images.records):
        panoptic = moved(split.panoptic(record.id), by=by[index % len(by)])
        kept = {key: value for key, value in panoptic.category_of.items() if value != without}
        ids = np.where(np.isin(panoptic.ids, list(kept)), panoptic.ids, 0)
        scores = {segment.id: segment.score for segment in panoptic.segments}
        panoptic = Panoptic.from_ids(ids, kept, scores={key: scores[key] for key in kept})
        classes = np.maximum(panoptic.category_map(), 0)
        entry = output_format.entry(record, None, Prediction(classes, panoptic))
        unfinished.write(entry.files)
        outcome = Outcome(index, images.digest(index), list(entry.files), entry.row)
        unfinished.keep(batches[index], [outcome])
    finish_folder(unfinished, images, batches, output_format, model=model, settings=settings)
    return folder


def evaluate(out, truth, prediction, **settings):
    """What `maskmill evaluate` writes."""
    values = {"images": None, "workers": 1, "num_examples": 0, "void": "auto", "num_resamples": 0}
    paths = {"target": truth, "prediction": prediction, "out": out}
    return scoring.evaluate(EvaluateSettings(**values | settings | paths))
