import json
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torch import nn

from maskmill.assembly.registration import runtime_sources
from maskmill.canonical.files import write_json
from maskmill.canonical.panoptic import VOID_CATEGORY
from maskmill.networks.padding import at_any_size
from maskmill.postprocess.torch_network import TorchNetwork
from maskmill.serving.model_files import DESCRIPTION, describe, write_model
from maskmill.serving.onnx_export import export_onnx
from maskmill.serving.onnx_network import GRAPH
from maskmill.serving.packaging import copy_sources, export_graph
from maskmill.serving.prediction_settings import WHOLE, PredictionSettings
from maskmill.serving.predictor import Predictor
from maskmill.serving.pyfunc_model import SegmentationModel, load_network
from strategies import CATEGORIES

POSTPROCESS = {
    "_target_": "maskmill.postprocess.panoptic.PanopticGrouping",
    "threshold": 0.5,
    "nms_kernel": 7,
    "top_k": 20,
    "min_area_px": 1,
    "stuff_area_px": 1,
}
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 37, 50, 3), dtype=np.uint8)


class Tiny(nn.Module):
    """Classes, centres and offsets from blocks of 8 x 8 px."""

    stride = 8

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.down = nn.Conv2d(3, 16, 8, stride=8)
        self.up = nn.ConvTranspose2d(16, 7, 8, stride=8)

    def forward(self, images):
        return at_any_size(self.body, images, self.stride)

    def body(self, images):
        x = self.up(torch.tanh(self.down(images.float() / 64 - 2)))
        semantic, center, offset = x.split([4, 1, 2], dim=1)
        return {"semantic": 9 * semantic, "center": center.sigmoid(), "offset": 9 * offset}


@pytest.fixture(scope="module")
def network():
    return Tiny().eval()


FLIPS = {"_target_": "maskmill.postprocess.views.Views", "vertical": True}
WINDOWS = {"_target_": "maskmill.postprocess.sliding_window.SlidingWindow", "window": [32, 32]}
TESTED = {
    "whole": PredictionSettings(),
    "flips": PredictionSettings({**WHOLE, "views": FLIPS}, {"top_k": 10}),
    "windows": PredictionSettings({**WINDOWS, "views": FLIPS}),
}


@pytest.fixture(scope="module", params=list(TESTED))
def prediction(request):
    """How the model was tested."""
    return TESTED[request.param]


@pytest.fixture(scope="module")
def files(network, prediction, tmp_path_factory):
    config = {"network": {"_target_": "maskmill.networks.any.Any"}}
    config["task"] = {"postprocess": POSTPROCESS}
    folder = tmp_path_factory.mktemp("trained")
    trained = write_model(folder, network.state_dict(), config, CATEGORIES, "digest")
    return replace(trained, prediction=prediction)


@pytest.fixture(scope="module")
def folder(network, files, tmp_path_factory):
    """The artifact of a registered model: graph and description."""
    folder = tmp_path_factory.mktemp("registered")
    export_onnx(network, folder, logits=not files.prediction.is_default)
    write_json(folder / DESCRIPTION, describe(files, folder))
    return folder


@pytest.fixture(scope="module")
def model(folder):
    model = SegmentationModel()
    model.load_context(SimpleNamespace(artifacts={"model": str(folder)}))
    return model


@pytest.fixture(scope="module")
def expected(network, files):
    inference = files.prediction.make_inference()
    predictor = Predictor(TorchNetwork(network), files.postprocess(), inference=inference)
    return list(predictor(IMAGES))


def test_maps_are_those_of_the_network_in_torch(model, expected):
    maps = model.predict(None, IMAGES)
    for index, prediction in enumerate(expected):
        category = prediction.panoptic.category_map()
        category = np.where(category == VOID_CATEGORY, prediction.semantic, category)
        np.testing.assert_array_equal(maps["category"][index], category)
        things = [CATEGORIES[s.category_id].isthing for s in prediction.panoptic.segments]
        assert maps["instance"][index].max() == sum(things)


def test_segments_have_class_names_scores_and_masks(model, expected):
    answers = model.predict(None, IMAGES, {"output": "segments"})
    assert [(answer["height"], answer["width"]) for answer in answers] == [(37, 50)] * 3
    for answer, prediction in zip(answers, expected, strict=True):
        segments = prediction.panoptic.segments
        assert [row["name"] for row in answer["segments"]] == [
            CATEGORIES[segment.category_id].name for segment in segments
        ]
        assert [row["score"] for row in answer["segments"]] == pytest.approx(
            [segment.score for segment in segments], abs=1e-5
        )
        for row in answer["segments"]:
            mask = coco_mask.decode(row["segmentation"])
            np.testing.assert_array_equal(mask, prediction.panoptic.ids == row["id"])


def flipped_bit(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (GRAPH, flipped_bit),
        (GRAPH, lambda content: content[:-1]),
        (GRAPH, lambda content: b""),
        (DESCRIPTION, lambda content: content.replace(b'"threshold": 0.5', b'"threshold": 0.4')),
    ],
)
def test_a_registered_model_that_was_damaged_is_refused(tmp_path, folder, name, damage):
    copy = shutil.copytree(folder, tmp_path / "model")
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(damage(content))
    context = SimpleNamespace(artifacts={"model": str(copy)})
    message = rf"model/{name}: expected the file that was registered .* but it is damaged"
    with pytest.raises(ValueError, match=message):
        SegmentationModel().load_context(context)


def test_a_batch_passes_through_the_network_as_a_batch(folder, files):
    shapes = []
    run = load_network(folder)

    def recording_network(images):
        shapes.append(images.shape)
        return run(images)

    model = SegmentationModel()
    model.files = files
    model.predictor = Predictor(recording_network, files.postprocess())
    model.predict(None, IMAGES, {"output": "maps", "batch_size": 2})
    assert shapes == [(2, 3, 37, 50), (1, 3, 37, 50)]


def test_an_unknown_output_raises_a_value_error(model):
    with pytest.raises(ValueError, match="expected maps or segments, but got 'masks' - choose"):
        model.predict(None, IMAGES, {"output": "masks"})


def test_without_the_packages_of_onnx_there_is_no_graph_and_the_log_says_why(
    network, files, tmp_path, monkeypatch, caplog
):
    monkeypatch.setitem(sys.modules, "onnx", None)  # as if it were not installed
    assert not export_graph(network, tmp_path, files, IMAGES[0])
    assert not (tmp_path / GRAPH).exists()
    assert "as a program alone, which needs PyTorch" in caplog.text
    assert "install 'maskmill[onnx]'" in caplog.text


@pytest.mark.parametrize(
    ("has_graph", "absent", "message"),
    [
        (True, ["onnxruntime", "torch"], "neither ONNX Runtime nor PyTorch is installed - install"),
        (False, ["torch"], "PyTorch is not installed - install .*requirements.txt, or torch alone"),
    ],
    ids=["graph", "program"],
)
def test_an_environment_that_cannot_run_the_model_raises_a_value_error(
    tmp_path, monkeypatch, has_graph, absent, message
):
    if has_graph:
        (tmp_path / GRAPH).touch()
    for package in absent:
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(ValueError, match=message):
        load_network(tmp_path)


@pytest.mark.slow
def test_the_code_of_a_registered_model_predicts_without_torch(tmp_path, folder, files, model):
    copy_sources(runtime_sources(files), tmp_path / "maskmill")
    np.save(tmp_path / "images.npy", IMAGES)
    code = f"""
import json, sys
from types import SimpleNamespace
sys.path = [{str(tmp_path)!r}] + [path for path in sys.path if not path.endswith("src")]
for package in ["torch", "safetensors", "hydra", "scipy"]:
    sys.modules[package] = None  # as if it were not installed
import numpy as np
from maskmill.serving import pyfunc_model
assert pyfunc_model.__file__.startswith({str(tmp_path)!r})
model = pyfunc_model.SegmentationModel()
model.load_context(SimpleNamespace(artifacts={{"model": {str(folder)!r}}}))
images = np.load({str(tmp_path / "images.npy")!r})
print(json.dumps(model.predict(None, images, {{"output": "segments"}})))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "type hints" not in done.stderr  # of MLflow's advice, which does not apply to arrays
    assert json.loads(done.stdout) == model.predict(None, IMAGES, {"output": "segments"})
