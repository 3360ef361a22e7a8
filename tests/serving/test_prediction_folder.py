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

CONFIG = {
    "network": {"_target_": "maskmill.networks.decoders.Unet"},
    "task": {"postprocess": {"_target_": "maskmill.postprocess.semantic.SemanticSegments"}},
}
RECORDS = (ImageRecord(31, "b/one.jpg", 4, 6), ImageRecord(7, "two.png", 4, 6))
IDS = np.repeat([[1, 1, 2, 2, 3, 0]], 4, axis=0)  # ground, two balls, nothing


def prediction():
    panoptic = Panoptic.from_ids(IDS, {1: 7, 2: 21, 3: 21}, scores={1: 0.9, 2: 0.8, 3: 0.25})
    return Prediction(np.where(IDS == 0, 0, panoptic.category_map()).astype(np.int32), panoptic)


def model(folder, categories=CATEGORIES):
    return write_model(folder, {"w": torch.zeros(1)}, CONFIG, categories, "digest")


def test_predictions_are_written_in_the_formats_of_common_tools(tmp_path):
    files = model(tmp_path / "model")
    out = write_predictions(tmp_path / "out", files, RECORDS, [prediction(), prediction()])
    folder = PanopticFolder(out)
    assert np.array_equal(folder.panoptic(31).ids, IDS)
    scores = [segment.score for segment in folder.panoptic(7).segments]
    assert scores == [0.9, 0.8, 0.25]
    assert np.array_equal(read_labels(out / "semantic" / "b" / "one.png"), prediction().semantic)
    rows = json.loads((out / "instances.json").read_text())
    assert [row["image_id"] for row in rows] == [31, 31, 7, 7]
    assert [row["category_id"] for row in rows] == [21, 21, 21, 21]
    assert [row["score"] for row in rows] == [0.8, 0.25, 0.8, 0.25]
    assert np.array_equal(coco_mask.decode(rows[1]["segmentation"]), IDS == 3)
    assert json.loads((out / "prediction.json").read_text()) == {
        "model": files.fingerprint,
        "data_digest": "digest",
    }


def test_a_table_of_things_has_no_semantic_maps(tmp_path):
    things = Categories([Category(21, "ball", True, (200, 0, 0))])
    panoptic = Panoptic.from_ids(np.where(IDS == 1, 0, IDS), {2: 21, 3: 21})
    result = Prediction(panoptic.category_map(), panoptic)
    out = write_predictions(
        tmp_path / "out", model(tmp_path / "model", things), RECORDS[:1], [result]
    )
    assert not (out / "semantic").exists()
    assert len(json.loads((out / "instances.json").read_text())) == 2


def test_an_interrupted_prediction_leaves_the_earlier_one_whole(tmp_path):
    files = model(tmp_path / "model")
    out = write_predictions(tmp_path / "out", files, RECORDS[:1], [prediction()])

    def interrupted():
        yield prediction()
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        write_predictions(out, files, RECORDS, interrupted())
    assert len(PanopticFolder(out)) == 1


def test_a_folder_of_the_user_is_not_replaced(tmp_path):
    files = model(tmp_path / "model")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"found other files \(notes\.txt\)"):
        write_predictions(tmp_path / "out", files, RECORDS[:1], [prediction()])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]


def test_two_images_of_one_name_are_refused(tmp_path):
    records = [ImageRecord(1, "b/one.jpg", 4, 6), ImageRecord(2, "b/one.png", 4, 6)]
    with pytest.raises(ValueError, match=r"got b/one\.jpg and b/one\.png, whose labels"):
        write_predictions(tmp_path / "out", model(tmp_path / "model"), records, [])


@pytest.mark.parametrize("name", ["../victim.jpg", "/tmp/victim.jpg"])
def test_a_prediction_is_not_written_outside_its_folder(tmp_path, name):
    records = [ImageRecord(1, name, 4, 6)]
    with pytest.raises(ValueError, match="leaves the data folder"):
        write_predictions(tmp_path / "out", model(tmp_path / "model"), records, [prediction()])
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
