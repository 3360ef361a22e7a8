"""Thresholds fitted to drawn images, for which a network is replaced by what it should answer."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from drawn_folders import scene, write_split
from maskmill.assembly.calibration import Examples
from maskmill.assembly.reference import describe_thresholds, is_fitted
from maskmill.assembly.threshold_fit import candidate_values, fit_thresholds, standard_error
from maskmill.assembly.train_settings import TrainSettings
from maskmill.canonical.panoptic import Panoptic
from maskmill.data.splits import open_split
from maskmill.metrics import PanopticQuality
from maskmill.serving.model_files import ModelFiles
from strategies import CATEGORIES

CONFIGURED = {
    "_target_": "maskmill.postprocess.panoptic.PanopticGrouping",
    "threshold": 0.1,
    "nms_kernel": 3,
    "top_k": 200,
    "min_area_px": 0,
    "stuff_area_px": 0,
    "keep_stuff": True,
}
SEMANTIC = {"_target_": "maskmill.postprocess.semantic.SemanticSegments"}
MASKS = {
    "_target_": "maskmill.postprocess.mask_classification.PanopticMasks",
    **{"threshold": 0.8, "overlap": 0.8, "min_area_px": 0, "stuff_area_px": 0, "keep_stuff": True},
}


def described(tmp_path, postprocess, categories=CATEGORIES):
    config = {"task": {"postprocess": postprocess}}
    return ModelFiles(tmp_path / "model.json", config, categories, "data", "model")


class Answers:
    """The outputs of a perfect Panoptic-DeepLab, but for a second, low centre in each object.

    Offsets point to the nearest centre of the object, so that a threshold below 0.15 splits it.
    """

    def __init__(self, examples, second_height=0.15):
        self.second_height = second_height
        self.answers = {}
        for example in examples:
            self.answers[self.key(example.image)] = self.outputs(example)

    @staticmethod
    def key(image):
        return hashlib.sha256(np.ascontiguousarray(image)).hexdigest()

    def outputs(self, example):
        ids = example.panoptic.ids
        center = np.zeros((1, 1, *ids.shape), np.float32)
        for segment in example.panoptic.segments:
            if not CATEGORIES[segment.category_id].isthing:
                continue
            rows, columns = (ids == segment.id).nonzero()
            center[0, 0, rows[0], columns[0]] = 0.35
            center[0, 0, rows[-1], columns[-1]] = self.second_height
        classes = np.where(example.classes == 255, 0, example.classes)
        return {
            "classes": classes[None].astype(np.int64),
            "confidence": np.ones((1, *ids.shape), np.float32),
            "center": center,
            "offset": np.zeros((1, 2, *ids.shape), np.float32),
        }

    def __call__(self, images):
        (image,) = images
        return self.answers[self.key(image.transpose(1, 2, 0))]


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_split(folder / "val", [scene(seed) for seed in range(8)], images=True)
    return Examples(open_split(folder, "val"))


def score(files, network, examples, values):
    """PQ of the predictions with other values, by the metric."""
    postprocess = files.postprocess(values)
    metric = PanopticQuality(files.categories)
    for example in examples:
        outputs = network(example.image.transpose(2, 0, 1)[None])
        (prediction,) = postprocess(outputs, [example.image.shape[:2]])
        metric.update([prediction.panoptic], [example.panoptic])
    return float(metric.compute()["PQ"])


def test_a_threshold_above_the_false_centres_is_chosen(tmp_path, examples):
    files = described(tmp_path, CONFIGURED)
    network = Answers(examples)
    fitted = fit_thresholds(network, files, examples, "PQ")
    assert fitted.values["threshold"] == 0.2  # 0.1 splits the objects, and 0.4 loses them
    assert fitted.num_images == 8
    assert fitted.before == pytest.approx(score(files, network, examples, {}), abs=1e-6)
    assert fitted.after == pytest.approx(score(files, network, examples, fitted.values), abs=1e-6)
    assert fitted.after - fitted.before > 0.1
    shown = f"threshold 0.2, nms_kernel {fitted.values['nms_kernel']}  PQ "
    assert shown in describe_thresholds(fitted)


def test_values_stay_where_others_are_not_better(tmp_path, examples):
    files = described(tmp_path, CONFIGURED | {"threshold": 0.2})
    fitted = fit_thresholds(Answers(examples), files, examples, "PQ")
    assert fitted.values == {}
    assert fitted.before == fitted.after
    assert "as configured  PQ" in describe_thresholds(fitted)


def test_a_single_image_changes_nothing(tmp_path, examples):
    one = Examples(examples.dataset.split, 1)
    fitted = fit_thresholds(Answers(one), described(tmp_path, CONFIGURED), one, "PQ")
    assert fitted.values == {}


def test_without_a_segment_to_find_nothing_is_fitted(tmp_path):
    void = Panoptic.from_ids(np.zeros((24, 32), np.int32), {})
    write_split(tmp_path / "val", [void, void], images=True)
    examples = Examples(open_split(tmp_path, "val"))
    files = described(tmp_path, CONFIGURED)
    assert fit_thresholds(Answers(examples), files, examples, "PQ") is None


def test_each_post_processing_has_its_own_candidates(tmp_path):
    masks = candidate_values(described(tmp_path, MASKS).postprocess())
    assert len(masks) == 20
    assert {"threshold": 0.5, "overlap": 0.5} in masks
    grouping = candidate_values(described(tmp_path, CONFIGURED | {"nms_kernel": 41}).postprocess())
    assert {values["nms_kernel"] for values in grouping} == {21, 29, 41, 57, 83}
    assert candidate_values(described(tmp_path, SEMANTIC).postprocess()) == []


def test_the_standard_error_of_a_mean_is_that_of_its_formula():
    values = np.array([1.0, 4.0, 2.0, 9.0, 5.0])
    without_each = (values.sum() - values) / 4
    assert standard_error(without_each) == pytest.approx(values.std(ddof=1) / 5**0.5)
    assert standard_error(np.array([0.3])) == float("inf")


@pytest.mark.parametrize(
    ("calibration", "wanted"),
    [
        ({"num_images": 4}, (True, False)),
        ({"num_images": 4, "thresholds": None}, (True, True)),
        (None, (False, False)),
    ],
    ids=["calibrated", "tuned", "neither"],
)
def test_a_finished_model_is_reused_only_if_the_same_was_fitted(tmp_path, calibration, wanted):
    node = {"_target_": "maskmill.postprocess.calibration.Calibration", "temperature": 1.0}
    postprocess = CONFIGURED | ({"calibration": node} if calibration else {})
    files = replace(described(tmp_path, postprocess), calibration=calibration)
    for asked in [(True, False), (True, True), (False, False)]:
        settings = TrainSettings("data", tmp_path, tmp_path, *asked)
        assert is_fitted(files, settings) == (asked == wanted)


def test_thresholds_without_a_calibration_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"train.tune_thresholds: .* set train.calibrate=true or"):
        TrainSettings("data", tmp_path, tmp_path, calibrate=False, tune_thresholds=True)


def test_a_task_without_thresholds_says_so(tmp_path, examples):
    fitted = fit_thresholds(Answers(examples), described(tmp_path, SEMANTIC), examples, "mIoU")
    assert "nothing to fit" in describe_thresholds(fitted)
