"""Calibration and reference of a small network on drawn images, through to `maskmill monitor`."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from commands import SMALL_ENCODER
from drawn_folders import scene, write_split
from maskmill.assembly.build import build
from maskmill.assembly.calibration import Examples, vote_logits
from maskmill.assembly.monitoring import monitor
from maskmill.assembly.reference import score_names, write_calibrated
from maskmill.assembly.serving import ModelLoader
from maskmill.assembly.settings import MonitorSettings
from maskmill.assembly.train_settings import TrainSettings
from maskmill.canonical.png import read_rgb, write_rgb
from maskmill.data.splits import open_split
from maskmill.evaluation.observation import ObservationLog
from maskmill.evaluation.reference import read_reference
from maskmill.evaluation.shifts import SHIFTS
from maskmill.postprocess.pixel_assignment import vote_for_classes
from maskmill.postprocess.whole_image import WholeImage
from maskmill.reporting.monitor_folder import write_comparison
from maskmill.serving.model_files import copy_model, read_model, write_model
from strategies import CATEGORIES

ENCODER = {"_target_": "maskmill.networks.encoders.TimmEncoder", "name": SMALL_ENCODER}
FPN = {"_target_": "segmentation_models_pytorch.FPN", "_partial_": True}
NETWORK = {
    "_target_": "maskmill.networks.decoders.EncoderDecoder",
    "encoder": ENCODER | {"pretrained": False, "weights": None},
    "decoder": FPN | {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32},
}
POSTPROCESS = {"_target_": "maskmill.postprocess.semantic.SemanticSegments"}
CONFIG = {"network": NETWORK, "task": {"postprocess": POSTPROCESS}}
NUM_VAL = 16


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_split(root / "train", [scene(seed) for seed in range(20)], images=True)
    write_split(root / "val", [scene(seed) for seed in range(20, 20 + NUM_VAL)], images=True)
    return root


@pytest.fixture(scope="module")
def draft(tmp_path_factory):
    """An untrained model whose class logits are four times as large: it is very sure of itself."""
    torch.manual_seed(0)
    network = build(OmegaConf.create({"n": NETWORK}).n, torch.nn.Module, num_classes=4).eval()
    weights = network.state_dict()
    (head,) = [key for key in weights if "head" in key and weights[key].ndim == 4]
    weights[head] = weights[head] * 4
    return write_model(tmp_path_factory.mktemp("draft"), weights, CONFIG, CATEGORIES, "digest")


def calibrate(draft, data, out):
    splits = [open_split(data, name) for name in ("train", "val")]
    settings = TrainSettings(str(data), out, out)
    return write_calibrated(draft, *splits, settings, device="cpu")


@pytest.fixture(scope="module")
def model(draft, data, tmp_path_factory):
    return calibrate(draft, data, tmp_path_factory.mktemp("model"))


@pytest.mark.slow
def test_an_overconfident_network_gets_a_temperature_and_a_smaller_error(model):
    calibration = model.postprocess().table.calibration
    assert calibration.temperature > 2
    pixels = model.calibration["pixels"]
    assert pixels["ece_before"] > 0.3 > 0.1 > pixels["ece_after"]
    segments = model.calibration["segments"]  # fewer than 50, so their scores remain
    assert NUM_VAL <= segments["count"] < 50
    assert segments["ece_after"] == segments["ece_before"] > 0


@pytest.mark.slow
def test_weights_keep_their_bytes_and_the_same_images_give_the_same_model(
    model, draft, data, tmp_path
):
    again = calibrate(draft, data, tmp_path / "again")
    assert again.fingerprint == model.fingerprint
    assert again.weights_digest() == draft.weights_digest()
    copy_model(again, tmp_path / "copy")
    copied = read_model(tmp_path / "copy")
    assert copied == replace(model, description=tmp_path / "copy" / "model.json")
    path = tmp_path / "copy" / "reference.json"
    assert read_reference(path, digest=copied.reference).scores == ["mIoU"]
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ValueError, match=r"reference.json: expected the file that belongs to the"):
        read_reference(path, digest=copied.reference)


def test_the_reference_has_training_and_validation_images_and_changed_copies(model):
    reference = read_reference(model.folder / "reference.json", digest=model.reference)
    assert len(reference.images) == 20
    assert len(reference.labelled) == NUM_VAL
    assert [row.name for row in reference.shifted] == list(SHIFTS)
    for row in reference.labelled:
        labelled = sum(count.pixels for count in row.pixels)
        assert labelled == row.seen.pixels == 24 * 32


@pytest.mark.parametrize(
    ("values", "scores"),
    [({}, ["mIoU"]), ({"keep_stuff": True}, ["mIoU", "PQ"])]
    + [({"keep_stuff": False}, ["mIoU", "PQ/thing"])],
    ids=["semantic", "panoptic", "instance"],
)
def test_the_estimated_scores_are_those_of_the_task(draft, values, scores):
    config = {"task": {"postprocess": POSTPROCESS | values}}
    assert score_names(replace(draft, config=config)) == scores


def test_votes_of_queries_have_the_logits_that_post_processing_divides_by_the_temperature():
    random = torch.Generator().manual_seed(0)
    outputs = {
        "class_logits": torch.randn(1, 7, 5, generator=random) * 3,
        "mask_logits": torch.randn(1, 7, 4, 6, generator=random) * 4,
    }
    pixels = np.array([0, 5, 30, 100, 200, 383])  # of an image of 16 x 24 px
    probs = np.exp(vote_logits(outputs, pixels, 24) / 2)
    probs /= probs.sum(axis=1, keepdims=True)
    queries = (outputs["class_logits"][0].numpy(), outputs["mask_logits"][0].numpy())
    classes, shares = vote_for_classes(*queries, pixels, 24, 2.0)
    assert np.array_equal(probs.argmax(axis=1), classes)
    assert np.allclose(probs.max(axis=1), shares, atol=1e-6)


def test_images_are_evenly_spaced_where_there_are_more(data):
    assert Examples(open_split(data, "train"), 4).indices == [0, 6, 13, 19]


def test_a_model_without_reference_is_refused(draft, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`train` writes with train.calibrate=true, but"):
        monitor(settings_of(draft, tmp_path, log=tmp_path / "x"))


def settings_of(model, out, **changes):
    values = {"model": str(model.folder), "log": None, "images": None, "out": out / "monitor"}
    values |= {"last": 1000, "num_listed": 5, "batch_size": 4, "device": "cpu"}
    return MonitorSettings(**values | {"inference": WholeImage(), "prometheus": None} | changes)


@pytest.fixture(scope="module")
def dark(tmp_path_factory):
    """A folder of twenty dark images."""
    folder = tmp_path_factory.mktemp("dark")
    write_split(folder, [scene(seed) for seed in range(30, 50)], images=True)
    for path in (folder / "images").iterdir():
        write_rgb(path, read_rgb(path) // 3)
    return folder / "images"


def write_log(path, model, images):
    """What a server would write, which answered a request for another model in between."""
    served = ModelLoader("cpu", 1, WholeImage(), {}, path)(str(model.folder))
    pictures = [read_rgb(file) for file in sorted(images.iterdir())]
    predictions = []
    for start in range(0, len(pictures), 4):  # as many at a time as `monitor`
        predictions += served.predict(pictures[start : start + 4])
    for image, pred in zip(pictures, predictions, strict=True):
        served.observe(image, pred)
    ObservationLog(path, version="another").observe(pictures[0], predictions[0])
    return path


@pytest.mark.slow
def test_dark_images_are_found_in_a_log_as_in_a_folder(model, dark, tmp_path):
    predicted = monitor(settings_of(model, tmp_path, images=dark)).comparison
    log = write_log(tmp_path / "seen.jsonl", model, dark)
    logged = monitor(settings_of(model, tmp_path, log=log)).comparison
    assert logged.num_images == predicted.num_images == 20
    assert logged.drifts == predicted.drifts
    assert logged.estimates == predicted.estimates
    assert {"brightness", "contrast"} <= {drift.feature for drift in logged.drifted}


@pytest.mark.slow
def test_page_table_and_gauges_say_what_was_found(model, dark, tmp_path):
    comparison = monitor(settings_of(model, tmp_path, images=dark)).comparison
    gauges = tmp_path / "maskmill.prom"
    out = write_comparison(tmp_path / "out", comparison, model="abc", prometheus=gauges)
    summary = json.loads((out / "monitor.json").read_text())
    assert summary["num_images"] == 20
    assert summary["num_validation_images"] == NUM_VAL
    rows = list(csv.DictReader((out / "to_label.csv").open()))
    assert len(rows) == 5
    assert "unusual brightness" in rows[0]["reasons"]
    assert {row["image"] for row in rows} <= {path.name for path in dark.iterdir()}
    page = (out / "monitor.html").read_text()
    assert "Scores without labels" in page
    assert page.count("<svg") > 3
    lines = gauges.read_text().splitlines()
    assert 'maskmill_drift_detected{feature="brightness",model="abc"} 1.0' in lines
    assert 'maskmill_monitored_images{model="abc"} 20.0' in lines


@pytest.mark.parametrize("given", [{}, {"log": "a", "images": "b"}], ids=["neither", "both"])
def test_monitor_needs_either_a_log_or_images(draft, tmp_path, given):
    with pytest.raises(ValueError, match=r"Expected either monitor.log or monitor.images, but got"):
        settings_of(draft, tmp_path, **given)


def test_every_change_keeps_the_form_of_the_image():
    image = np.random.default_rng(0).integers(0, 256, (9, 11, 3), np.uint8)
    for name, change in SHIFTS.items():
        changed = change(image)
        assert (changed.shape, changed.dtype) == (image.shape, np.uint8)
        assert np.array_equal(changed, change(image))
        assert (name == "none") == np.array_equal(changed, image)
