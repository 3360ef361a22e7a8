"""One model, one answer: predict, registry, pyfunc, HTTP, ONNX, OpenVINO give equal maps.

A version gives the answers of the inference by which it was tested, without being told.
"""

import http.client
import json
import subprocess
import sys
import time
from dataclasses import replace

import cv2
import mlflow
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn

from commands import command_environment, preloaded_python
from maskmill.assembly.build import build
from maskmill.assembly.export_settings import ExportSettings
from maskmill.assembly.exporting import Exporting
from maskmill.assembly.model_loading import load_model
from maskmill.assembly.network_loading import load_network
from maskmill.assembly.prediction_job import PredictionJob
from maskmill.assembly.registration import runtime_sources
from maskmill.canonical.files import read_json
from maskmill.canonical.png import read_labels, read_rgb
from maskmill.serving.image_folder import find_images
from maskmill.serving.model_files import read_model, write_model
from maskmill.serving.packaging import log_model
from maskmill.serving.prediction_settings import PredictionSettings
from maskmill.tracking.models import create_version, download, version_of
from mlflow_server import free_port
from strategies import CATEGORIES

pytestmark = pytest.mark.slow

NUM_PHOTOS = 20
REGISTERED = "models:/same/1"


def composed(repository, *overrides):
    with initialize_config_dir(str(repository / "conf"), version_base="1.3"):
        return compose("config", list(overrides))


@pytest.fixture(scope="module")
def photos(repository):
    return sorted((repository / "samples/scenes/images").glob("*.png"))[:NUM_PHOTOS]


@pytest.fixture(scope="module")
def listed(photos, tmp_path_factory):
    path = tmp_path_factory.mktemp("list") / "photos.txt"
    path.write_text("".join(f"{photo}\n" for photo in photos))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory, repository):
    """A folder as `train` writes it, with random weights."""
    torch.manual_seed(0)
    cfg = composed(repository, "task=semantic", "network=fpn", "loss=cross_entropy")
    network = build(cfg.network, nn.Module, num_classes=CATEGORIES.num_outputs)
    config = {name: OmegaConf.to_container(cfg[name], resolve=True) for name in ("network", "task")}
    folder = tmp_path_factory.mktemp("model")
    return write_model(folder, network.state_dict(), config, CATEGORIES, "digest")


@pytest.fixture(scope="module", params=["whole", "flips"])
def inference(request):
    """How the model was tested."""
    return request.param


@pytest.fixture(scope="module")
def registered(model, inference, photos, tmp_path_factory, repository):
    """The model as version 1 of a registry."""
    node = OmegaConf.to_container(composed(repository, f"inference={inference}").inference)
    tested = replace(model, prediction=PredictionSettings(node))
    store = tmp_path_factory.mktemp("registry")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}/mlflow.db")
        mlflow.set_tracking_uri(f"sqlite:///{store}/mlflow.db")
        mlflow.create_experiment("same", artifact_location=str(store / "artifacts"))
        mlflow.set_experiment("same")
        with mlflow.start_run():
            sources = runtime_sources(tested)
            uri = log_model(tested, load_network(tested), read_rgb(photos[0]), sources=sources)
        create_version("same", uri, {})
        yield REGISTERED


def predicted(repository, out, name, listed, *choices):
    """The label maps that `maskmill predict` writes."""
    overrides = [f"predict.model={name}", f"predict.images={listed}", f"predict.out={out}"]
    images = find_images(listed)
    cfg = composed(repository, *overrides, *choices, "predict.batch_size=3", "output=labels")
    PredictionJob(cfg.predict, images).run()
    return [read_labels(out / "semantic" / record.file_name) for record in images.records]


@pytest.fixture(scope="module")
def expected(model, inference, listed, tmp_path_factory, repository):
    out = tmp_path_factory.mktemp("x") / "out"
    return predicted(repository, out, str(model.folder), listed, f"inference={inference}")


def require_equal(maps, expected):
    assert len(maps) == len(expected) == NUM_PHOTOS
    for label_map, target in zip(maps, expected, strict=True):
        assert np.array_equal(label_map, target)
    assert len(np.unique(expected)) > 1


def test_predict_from_the_registry(registered, listed, tmp_path, repository, expected):
    out = tmp_path / "out"
    require_equal(predicted(repository, out, registered, listed), expected)
    assert read_json(out / "prediction.json")["settings"] == settings_of(registered)


def test_pyfunc(registered, photos, expected, monkeypatch):
    # MLflow puts the model's part of maskmill on the import path, where workers would find it.
    monkeypatch.setattr(sys, "path", list(sys.path))
    images = np.stack([read_rgb(photo) for photo in photos])
    loaded = mlflow.pyfunc.load_model(registered)
    require_equal(list(loaded.predict(images)["category"]), expected)


def settings_of(name):
    return read_model(download(name)).prediction.as_dict()


def test_onnx(registered, photos, expected):
    model = load_model(registered, device="cpu")
    assert model.runtime == "onnx"
    images = (read_rgb(photo) for photo in photos)
    predictions = model.predictor(images, batch_size=7)
    require_equal([prediction.semantic for prediction in predictions], expected)


def test_the_environment_of_a_version_needs_no_torch(registered):
    requirements = (download(registered).parents[1] / "requirements.txt").read_text()
    assert "onnxruntime==" in requirements
    assert "torch" not in requirements


def test_openvino_exported_beside_the_registered_version(
    registered, photos, tmp_path, repository, expected
):
    overrides = [f"export.model={registered}", f"export.images={photos[0].parent}"]
    overrides += [f"export.out={tmp_path / 'export'}", "export.format=openvino"]
    cfg = composed(repository, *overrides, "export.num_images=2")
    record = Exporting(build(cfg.export, ExportSettings)).run()
    tags = version_of(registered).tags
    assert tags["runtimes"] == "openvino, program"
    kept = mlflow.artifacts.load_dict(f"{tags['export']}/export.json")
    assert kept == json.loads(json.dumps(record))
    assert kept["runtimes"]["openvino"]["agrees"]
    model = load_model(registered, device="cpu", runtime="openvino")
    images = (read_rgb(photo) for photo in photos)
    predictions = model.predictor(images, batch_size=7)
    require_equal([prediction.semantic for prediction in predictions], expected)
    seconds = {name: row["seconds"] for name, row in kept["runtimes"].items()}
    assert load_model(registered, device="cpu").runtime == min(seconds, key=seconds.get)


def test_http(model, registered, inference, photos, tmp_path, expected):
    port = free_port()
    name = model.folder if inference == "whole" else registered
    values = [f"serve.model={name}", f"serve.port={port}"]
    with (tmp_path / "server.log").open("w") as server_log:
        process = subprocess.Popen(
            [preloaded_python(), "-m", "maskmill.stages.cli", "serve", *values],
            cwd=tmp_path,
            env=command_environment() | {"MLFLOW_TRACKING_URI": mlflow.get_tracking_uri()},
            stdout=server_log,
            stderr=server_log,
        )
    try:
        maps = [posted(port, photo.read_bytes()) for photo in photos]
    finally:
        process.terminate()
        process.wait(timeout=60)
    require_equal(maps, expected)


def posted(port, data):
    """The label map that the server answers, once it is there."""
    deadline = time.monotonic() + 120
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("POST", "/predict?format=labels", data)
            response = connection.getresponse()
            body = response.read()
            if response.status == 200:
                return cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)
        except OSError:
            pass
        finally:
            connection.close()
        assert time.monotonic() < deadline, "the server does not answer"
        time.sleep(0.2)
