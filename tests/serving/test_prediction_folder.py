import json

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.folder import ImageRecord, PanopticFolder
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import read_labels
from maskmill.postprocess.prediction import Prediction
from maskmill.serving.model_files import write_model
from maskmill.serving.prediction_folder import write_predictions
from strategies import CATEGORIES

CONFIG = {"task": {"postprocess": {"_target_": "maskmill.postprocess.semantic.SemanticSegments"}}}
RECORDS = (ImageRecord(31, "b/one.jpg", 4, 6), ImageRecord(7, "two.png", 4, 6))
IDS = np.repeat([[1, 1, 2, 2, 3, 0]], 4, axis=0)  # ground, two balls, nothing


def prediction():
    panoptic = Panoptic.from_ids(IDS, {1: 7, 2: 21, 3: 21}, scores={1: 0.9, 2: 0.8, 3: 0.25})
    return Prediction(np.where(IDS == 0, 0, panoptic.category_map()).astype(np.int32), panoptic)


def model(folder, categories=CATEGORIES):
    return write_model(folder, {"w": torch.zeros(1)}, CONFIG, categories, "digest")


def test_predictions_are_written_in_the_forms_the_tools_read(tmp_path):
    files = model(tmp_path / "model")
    out = write_predictions(tmp_path / "out", files, RECORDS, [prediction(), prediction()])
    folder = PanopticFolder(out)
    assert np.array_equal(folder.panoptic(31).ids, IDS)
    assert [segment.score for segment in folder.panoptic(7).segments] == [0.9, 0.8, 0.25]
    assert np.array_equal(read_labels(out / "semantic" / "b" / "one.png"), prediction().semantic)
    rows = json.loads((out / "instances.json").read_text())
    assert [(row["image_id"], row["category_id"], row["score"]) for row in rows] == [
        (31, 21, 0.8),
        (31, 21, 0.25),
        (7, 21, 0.8),
        (7, 21, 0.25),
    ]
    assert np.array_equal(coco_mask.decode(rows[1]["segmentation"]), IDS == 3)
    assert json.loads((out / "prediction.json").read_text()) == {
        "model": files.fingerprint,
        "data_digest": "digest",
    }


def test_on_a_background_there_is_no_map_of_classes(tmp_path):
    things = Categories([Category(21, "ball", True, (200, 0, 0))])
    panoptic = Panoptic.from_ids(np.where(IDS == 1, 0, IDS), {2: 21, 3: 21})
    result = Prediction(panoptic.category_map(), panoptic)
    out = write_predictions(
        tmp_path / "out", model(tmp_path / "model", things), RECORDS[:1], [result]
    )
    assert not (out / "semantic").exists()
    assert len(json.loads((out / "instances.json").read_text())) == 2


def test_a_broken_off_prediction_leaves_the_earlier_one_whole(tmp_path):
    files = model(tmp_path / "model")
    out = write_predictions(tmp_path / "out", files, RECORDS[:1], [prediction()])

    def breaks_off():
        yield prediction()
        raise RuntimeError("the network fell over")

    with pytest.raises(RuntimeError, match="fell over"):
        write_predictions(out, files, RECORDS, breaks_off())
    assert len(PanopticFolder(out)) == 1
