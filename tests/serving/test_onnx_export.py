import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from maskmill.networks.padding import at_any_size
from maskmill.serving.onnx_export import export_onnx
from maskmill.serving.onnx_network import OnnxNetwork

STRIDE = 8


class Tiny(nn.Module):
    """A network of stride 8 with a map of classes and a map of centres."""

    stride = STRIDE

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 4, STRIDE, stride=STRIDE)
        self.up = nn.ConvTranspose2d(4, 3, STRIDE, stride=STRIDE)

    def forward(self, images):
        return at_any_size(self.body, images, self.stride)

    def body(self, images):
        x = self.up(torch.relu(self.down(images / 255.0)))
        return {"semantic": x, "center": x[:, :1]}


class WithSizes(Tiny):
    """Makes a tensor of a size, which tracing stores as a constant; as Mask2Former does."""

    def body(self, images):
        width = images.shape[-1]
        exporting = torch.compiler.is_exporting()
        factor = torch.full((), width) if exporting else torch.tensor(int(width))
        outputs = super().body(images)
        return {"semantic": outputs["semantic"] * factor / 16}


class Random(Tiny):
    def body(self, images):
        outputs = super().body(images)
        return {"semantic": outputs["semantic"] + torch.rand_like(outputs["semantic"])}


def network(kind):
    torch.manual_seed(0)
    return kind().eval()


BOTH_EXPORTERS = [Tiny, pytest.param(WithSizes, marks=pytest.mark.slow)]  # 1 s and 10 s


@pytest.fixture(scope="module", params=BOTH_EXPORTERS, ids=lambda kind: kind.__name__)
def exported(request, tmp_path_factory):
    """A network and its graph in ONNX Runtime."""
    eager = network(request.param)
    path = export_onnx(eager, tmp_path_factory.mktemp("export"))
    return eager, OnnxNetwork(path, threads=1)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 3, 17, 31), (3, 3, 64, 16), (2, 3, 5, 5)], ids=str)
def test_a_graph_equals_the_network_at_sizes_other_than_the_exported_one(exported, shape):
    eager, graph = exported
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    with torch.inference_mode():
        expected = eager(torch.from_numpy(images))
    outputs = graph(images)
    confidence, classes = expected.pop("semantic").softmax(dim=1).max(dim=1)
    assert outputs["classes"].dtype == np.uint8
    np.testing.assert_array_equal(outputs["classes"], classes)
    # Kernels sum in another order: a few units of the last digit.
    np.testing.assert_allclose(outputs["confidence"], confidence, rtol=1e-5)
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name], value, atol=1e-6)


@pytest.mark.slow
def test_a_network_that_no_exporter_repeats_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"within 0\.001, but got differences of .*, .* - use the"):
        export_onnx(network(Random), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_graph_runs_without_torch(tmp_path):
    path = export_onnx(network(Tiny), tmp_path)
    code = f"""
import sys
sys.modules["torch"] = None  # every import of it fails
from pathlib import Path
import numpy as np
from maskmill.serving.onnx_network import OnnxNetwork
graph = OnnxNetwork(Path({str(path)!r}), threads=1)
print(graph(np.zeros((2, 3, 9, 20), np.uint8))["classes"].shape)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout == "(2, 9, 20)\n", run.stderr


def test_a_missing_or_damaged_graph_says_what_to_do(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"model\.onnx: expected a network.*maskmill export"
    ):
        OnnxNetwork(tmp_path / "model.onnx")
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ValueError, match=r"model\.onnx: expected a graph.*export the model again"):
        OnnxNetwork(tmp_path / "model.onnx")
