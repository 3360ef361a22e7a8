"""Images to files by several threads, whatever happens in between."""

import json
import threading

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.files import write_json, write_json_list
from maskmill.canonical.folder import ImageRecord, PanopticFolder
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import read_labels
from maskmill.postprocess.prediction import Prediction
from maskmill.postprocess.semantic import SemanticSegments
from maskmill.serving.batch_prediction import BatchPrediction, split_batches
from maskmill.serving.formats.canonical import Canonical
from maskmill.serving.image_folder import Images, find_images
from maskmill.serving.model_files import ModelFiles
from maskmill.serving.prediction_folder import finish_folder
from maskmill.serving.predictor import Predictor
from maskmill.serving.unfinished import UnfinishedFolder
from strategies import CATEGORIES

MODEL = ModelFiles(None, {}, CATEGORIES, "digest", "fingerprint")
SIZES = [(6, 4), (6, 4), (6, 4), (3, 5), (6, 4), (6, 4)]  # width and height


class Brightness:
    """A network whose class is the red value, and which notes what it predicts.

    Args:
        killed_at: the number of the batch at which the process ends.
    """

    def __init__(self, killed_at=None):
        self.killed_at = killed_at
        self.batches = []
        self.num_callers = 0

    def __call__(self, images):
        assert self.num_callers == 0, "two threads are in the network"
        self.num_callers += 1
        if len(self.batches) == self.killed_at:
            raise KeyboardInterrupt
        self.batches.append(images[:, 0, 0, 0].tolist())
        self.num_callers -= 1
        classes = images[:, 0] % 4  # (B, H, W)
        return {"classes": classes, "confidence": np.ones(classes.shape, np.float32)}


@pytest.fixture
def photos(tmp_path):
    """Six photographs of two sizes, whose red values are 0 to 5."""
    (tmp_path / "photos").mkdir()
    for value in range(len(SIZES)):
        save_photo(tmp_path / "photos", value, red=value)
    return tmp_path / "photos"


def save_photo(folder, number, *, red):
    width, height = SIZES[number]
    rgb = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
    rgb[..., 0] = red
    Image.fromarray(rgb).save(folder / f"{number}.png")


def predict(out, photos, network, *, workers=3, on_problem="stop"):
    """Predict in batches of two, and return the number of predictions."""
    images = find_images(photos, on_problem=on_problem)
    folder = UnfinishedFolder(out)
    predictor = Predictor(network, SemanticSegments(categories=CATEGORIES))
    output_format = Canonical(categories=CATEGORIES)
    job = BatchPrediction(predictor, images, output_format, folder, on_problem=on_problem)
    batches = split_batches(len(images.records), 2)
    assert list(job.run(batches, workers=workers)) == batches
    return finish_folder(folder, images, batches, output_format, model=MODEL, settings={})


def interrupt(*_):
    raise KeyboardInterrupt


def contents(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_predictions_are_written_in_the_formats_of_common_tools(tmp_path, photos):
    network = Brightness()
    assert predict(tmp_path / "out", photos, network) == 6
    assert sorted(network.batches) == [[0, 1], [2], [3], [4, 5]]
    split = PanopticFolder(tmp_path / "out")
    assert [record.file_name for record in split.records] == [f"{i}.png" for i in range(6)]
    for value in range(6):
        category_id = int(CATEGORIES.ids[value % 4])
        semantic = read_labels(tmp_path / "out/semantic" / f"{value}.png")
        assert (semantic.shape, set(semantic.flat)) == (SIZES[value][::-1], {category_id})
        assert [s.category_id for s in split.panoptic(value + 1).segments] == [category_id]
    rows = json.loads((tmp_path / "out/instances.json").read_text())
    assert [(row["image_id"], row["category_id"]) for row in rows] == [(3, 21), (4, 3)]
    assert coco_mask.decode(rows[1]["segmentation"]).tolist() == np.ones((5, 3)).tolist()
    origin = json.loads((tmp_path / "out/prediction.json").read_text())
    assert (origin["model"], origin["data_digest"]) == ("fingerprint", "digest")
    assert list(origin["images"]) == [f"{i}.png" for i in range(6)]


def test_the_files_do_not_depend_on_the_number_of_threads(tmp_path, photos):
    predict(tmp_path / "one", photos, Brightness(), workers=1)
    predict(tmp_path / "four", photos, Brightness(), workers=4)
    assert contents(tmp_path / "one") == contents(tmp_path / "four")
    assert len(contents(tmp_path / "one")) == 15


# The second batch has images of two sizes, so that it takes two calls of the network.
@pytest.mark.parametrize(("killed_at", "num_left"), [(0, 4), (1, 3), (2, 3), (3, 1)])
def test_a_killed_run_resumes_with_the_same_bytes(tmp_path, photos, killed_at, num_left):
    predict(tmp_path / "whole", photos, Brightness())
    first = Brightness(killed_at)
    with pytest.raises(KeyboardInterrupt):
        predict(tmp_path / "out", photos, first, workers=1)
    second = Brightness()
    predict(tmp_path / "out", photos, second, workers=1)
    assert len(first.batches) == killed_at
    assert len(second.batches) == num_left
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_run_that_was_killed_while_it_finished_resumes(tmp_path, photos, monkeypatch):
    predict(tmp_path / "whole", photos, Brightness())
    monkeypatch.setattr(UnfinishedFolder, "close", interrupt)
    with pytest.raises(KeyboardInterrupt):
        predict(tmp_path / "out", photos, Brightness())
    monkeypatch.undo()
    network = Brightness()
    predict(tmp_path / "out", photos, network)
    assert network.batches == []
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_images_that_changed_and_notes_that_are_damaged_are_predicted_again(tmp_path, photos):
    with pytest.raises(KeyboardInterrupt):
        predict(tmp_path / "out", photos, Brightness(3), workers=1)
    save_photo(photos, 0, red=9)
    note = tmp_path / "out/.batches/000000002.json"
    note.write_text(note.read_text()[:-9])
    (tmp_path / "out/semantic/3.png").unlink()
    network = Brightness()
    predict(tmp_path / "out", photos, network)
    assert sorted(network.batches) == [[2], [3], [4, 5], [9, 1]]


def test_a_broken_image_stops_or_is_left_out_and_listed(tmp_path, photos, caplog):
    data = (photos / "1.png").read_bytes()
    (photos / "1.png").write_bytes(data[:-40])
    with pytest.raises(ValueError, match=r"1\.png: expected a complete image, but it is trunc"):
        predict(tmp_path / "out", photos, Brightness())
    assert predict(tmp_path / "out", photos, Brightness(), on_problem="exclude") == 5
    names = [record.file_name for record in PanopticFolder(tmp_path / "out").records]
    assert names == ["0.png", "2.png", "3.png", "4.png", "5.png"]
    (excluded,) = json.loads((tmp_path / "out/prediction.json").read_text())["excluded"]
    assert excluded["file"] == str(photos / "1.png")
    assert "1 times" in caplog.text
    assert "truncated or damaged" in caplog.text


def test_an_image_that_breaks_between_two_runs_leaves_no_file(tmp_path, photos):
    with pytest.raises(KeyboardInterrupt):
        predict(tmp_path / "out", photos, Brightness(3), workers=1, on_problem="exclude")
    (photos / "1.png").write_bytes((photos / "1.png").read_bytes()[:-40])
    predict(tmp_path / "out", photos, Brightness(), on_problem="exclude")
    assert not (tmp_path / "out/panoptic/1.png").exists()


def test_a_table_of_things_has_no_semantic_maps():
    things = Categories([Category(21, "ball", True, (200, 0, 0))])
    panoptic = Panoptic.from_ids(np.array([[0, 2, 3]]), {2: 21, 3: 21})
    prediction = Prediction(panoptic.category_map(), panoptic)
    record = ImageRecord(1, "a.png", 1, 3)
    entry = Canonical(categories=things).entry(record, np.zeros((1, 3, 3), np.uint8), prediction)
    assert list(entry.files) == ["panoptic/a.png"]
    assert len(entry.row["instances"]) == 2


@pytest.mark.parametrize("name", ["../victim.jpg", "/tmp/victim.jpg"])
def test_a_prediction_is_not_written_outside_its_folder(tmp_path, name):
    folder = UnfinishedFolder(tmp_path / "out")
    with pytest.raises(ValueError, match="leaves the data folder"):
        folder.write({name: b""})
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("items", [[], [1], [{"a": [1, {"b": "x\ny"}]}, "é", None]])
def test_a_streamed_list_has_the_bytes_of_a_written_one(tmp_path, items):
    write_json(tmp_path / "a.json", items)
    write_json_list(tmp_path / "b.json", iter(items))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_the_next_batch_is_decoded_while_the_network_predicts(tmp_path, photos):
    is_decoded = threading.Event()

    class Watched(Images):
        def read(self, index, findings):
            if index == 2:  # the second batch
                is_decoded.set()
            return super().read(index, findings)

    class Waiting(Brightness):
        def __call__(self, images):
            assert is_decoded.wait(timeout=20)
            return super().__call__(images)

    found = find_images(photos)
    images = Watched(found.records, found.paths)
    predictor = Predictor(Waiting(), SemanticSegments(categories=CATEGORIES))
    job = BatchPrediction(
        predictor,
        images,
        Canonical(categories=CATEGORIES),
        UnfinishedFolder(tmp_path / "out"),
        on_problem="stop",
    )
    batches = split_batches(len(images.records), 2)
    assert list(job.run(batches, workers=2)) == batches
