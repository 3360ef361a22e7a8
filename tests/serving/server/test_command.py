"""`maskmill serve` with a real network: the same segments as the predictor, and as `predict`."""

import io
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from torch import nn

import brightness_server
from commands import run
from maskmill.assembly.build import build
from maskmill.assembly.model_loading import load_model
from maskmill.canonical.png import decode_ids
from maskmill.canonical.rle import decode_rle
from maskmill.serving.model_files import write_model
from maskmill.sources.finding import Findings
from maskmill.sources.images import decode_photo
from mlflow_server import free_port
from strategies import CATEGORIES

pytestmark = pytest.mark.slow

NETWORK = {
    "_target_": "maskmill.networks.panoptic_deeplab.PanopticDeepLab",
    "encoder": {
        **{"_target_": "maskmill.networks.encoders.TimmEncoder", "name": "resnet10t"},
        **{"pretrained": False, "weights": None},
    },
    **{"width": 16, "atrous_rates": [1, 2, 3], "output_stride": 16, "dual_decoder": True},
}
POSTPROCESS = {
    "_target_": "maskmill.postprocess.panoptic.PanopticGrouping",
    **{"threshold": 0.1, "nms_kernel": 7, "top_k": 50, "min_area_px": 4, "stuff_area_px": 4},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model with random weights, whose segments are small and many."""
    node = OmegaConf.create({"network": NETWORK})
    torch.manual_seed(9)  # most other seeds draw weights that find one segment or none
    network = build(node.network, nn.Module, num_classes=CATEGORIES.num_outputs)
    config = {"network": NETWORK, "task": {"postprocess": POSTPROCESS}}
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, network.state_dict(), config, CATEGORIES, "digest")
    return folder


@pytest.fixture(scope="module")
def server(folder, tmp_path_factory):
    port = free_port()
    values = [f"serve.model={folder}", f"serve.port={port}", "serve.limits.max_queue=7"]
    cwd = tmp_path_factory.mktemp("cwd")
    process = subprocess.Popen(
        [sys.executable, "-m", "maskmill.stages.cli", "serve", *values],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    running = brightness_server.Server(process, port)
    running.wait_until(brightness_server.is_healthy)
    yield running
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0


@pytest.fixture(scope="module")
def predictor(folder):
    return load_model(str(folder), device="cpu").predictor


def photograph(repository, size, form):
    """A part of a photograph of the samples, enlarged, as a file."""
    height, width = size
    path = sorted((repository / "samples/scenes/images").glob("test_*.png"))[height % 7]
    picture = Image.open(path).convert("RGB").resize((width, height))
    buffer = io.BytesIO()
    picture.save(buffer, form)
    return buffer.getvalue()


def test_an_address_in_use_is_one_line_without_a_traceback(server, folder, tmp_path):
    values = [f"serve.model={folder}", f"serve.port={server.port}"]
    output = run("serve", *values, cwd=tmp_path, status=1)
    assert f"127.0.0.1:{server.port}: expected a free address of this machine" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("size", "form"), [((96, 160), "JPEG"), ((61, 83), "PNG"), ((128, 64), "TIFF")]
)
def test_segments_over_http_are_those_of_the_predictor(
    repository, server, folder, predictor, size, form
):
    data = photograph(repository, size, form)
    image = decode_photo(data, "photograph", Findings())
    (expected,) = predictor([image])
    status, answer = server.predict(data)
    assert status == 200
    assert answer["model"]["name"] == folder.name
    ids = np.zeros(size, np.int32)
    for segment, row in zip(expected.panoptic.segments, answer["segments"], strict=True):
        code = row.pop("segmentation")
        ids[decode_rle(code, size)] = row["id"]
        assert row.pop("name") == CATEGORIES[segment.category_id].name
        score = row.pop("score")
        assert score == pytest.approx(segment.score, abs=1e-5)  # sums of several threads
        assert row == {key: segment.as_dict()[key] for key in row}
        assert row.keys() == {"id", "category_id", "area", "bbox"}
    assert len(answer["segments"]) >= 2
    assert np.array_equal(ids, expected.panoptic.ids)
    body = server.request("POST", "/predict?format=panoptic", data)[2]
    assert np.array_equal(decode_ids(np.frombuffer(body, np.uint8), "x"), expected.panoptic.ids)
