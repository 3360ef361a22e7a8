import numpy as np
import pytest
import torch
from torch import nn

openvino = pytest.importorskip("openvino", reason="maskmill[openvino] is not installed")

from maskmill.serving.openvino_graph import (  # noqa: E402
    give_own_constants,
    normalize_channels_in_place,
)


class Normalized(nn.Module):
    """Channels as the last axis, normalized, and back, as transformers' EoMT does it."""

    def __init__(self, order):
        super().__init__()
        torch.manual_seed(0)
        self.order = order
        self.norm = nn.LayerNorm(6)
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)

    def forward(self, maps):
        return self.norm(maps.permute(0, 2, 3, 1)).permute(*self.order)


def converted(network, folder):
    path = folder / "network.onnx"
    example = (torch.zeros(1, 6, 8, 8),)
    axes = {"maps": {0: "batch", 2: "height", 3: "width"}}
    names = {"input_names": ["maps"], "output_names": ["out"], "dynamic_axes": axes}
    with pytest.warns(DeprecationWarning, match="legacy TorchScript"):
        torch.onnx.export(network, example, path, dynamo=False, opset_version=18, **names)
    return openvino.Core().read_model(path)


def run(graph, maps):
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    (outputs,) = openvino.Core().compile_model(graph, "CPU", settings)([maps]).values()
    return outputs


def kinds(graph):
    return [node.get_type_name() for node in graph.get_ops()]


@pytest.mark.slow
def test_a_normalization_of_channels_is_the_same_without_transpositions(tmp_path):
    network = Normalized([0, 3, 1, 2]).eval()
    graph = converted(network, tmp_path)
    assert kinds(graph).count("Transpose") == 2
    assert normalize_channels_in_place(graph) == 1
    assert "Transpose" not in kinds(graph)
    assert graph.outputs[0].any_name == "out"
    maps = np.random.default_rng(0).normal(5, 3, (2, 6, 7, 9)).astype(np.float32)
    found = run(graph, maps)
    expected = network(torch.from_numpy(maps)).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)  # float32 sums in another order


@pytest.mark.slow
def test_a_normalization_that_is_followed_by_another_order_is_left_alone(tmp_path):
    graph = converted(Normalized([0, 3, 2, 1]).eval(), tmp_path)
    assert normalize_channels_in_place(graph) == 0
    assert kinds(graph).count("Transpose") == 2


@pytest.mark.slow
def test_layers_that_shared_weights_have_their_own_and_the_same_outputs(tmp_path):
    torch.manual_seed(0)
    layer = nn.Conv2d(6, 6, 1)
    graph = converted(nn.Sequential(layer, nn.ReLU(), layer).eval(), tmp_path)
    maps = np.random.default_rng(0).normal(size=(1, 6, 4, 5)).astype(np.float32)
    before = run(graph, maps)
    assert give_own_constants(graph) >= 2  # weight and bias
    np.testing.assert_array_equal(run(graph, maps), before)
    constants = [node for node in graph.get_ops() if node.get_type_name() == "Constant"]
    assert all(len(node.output(0).get_target_inputs()) == 1 for node in constants)
    names = [node.get_friendly_name() for node in graph.get_ops()]
    assert len(set(names)) == len(names)
