"""Several models as one model folder."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from commands import SMALL_ENCODER
from maskmill.assembly.build import build
from maskmill.assembly.ensemble import EnsembleSettings, require_same_kind, write_ensemble
from maskmill.assembly.model_loading import load_model
from maskmill.assembly.network_loading import load_network, without_files
from maskmill.assembly.targets import MAX_NETWORKS
from maskmill.canonical.categories import Categories
from maskmill.networks.ensemble import Ensemble
from maskmill.postprocess.panoptic import PanopticGrouping
from maskmill.serving.model_files import ModelFiles, read_model, write_model
from maskmill.serving.onnx_export import export_onnx
from strategies import CATEGORIES

ENCODER = {"_target_": "maskmill.networks.encoders.TimmEncoder", "name": SMALL_ENCODER}
NETWORK = {
    "_target_": "maskmill.networks.panoptic_deeplab.PanopticDeepLab",
    "encoder": ENCODER | {"pretrained": False, "weights": None},
    **{"width": 16, "atrous_rates": [2, 4, 6], "output_stride": 16, "dual_decoder": True},
}
CALIBRATION = {"_target_": "maskmill.postprocess.calibration.Calibration", "temperature": 3.0}
LIMITS = {"min_area_px": 0, "stuff_area_px": 0, "keep_stuff": True}
GROUPING = {
    "_target_": "maskmill.postprocess.panoptic.PanopticGrouping",
    **{"threshold": 0.0, "nms_kernel": 3, "top_k": 20, "calibration": CALIBRATION, **LIMITS},
}
MASKS = {
    "_target_": "maskmill.postprocess.mask_classification.PanopticMasks",
    **{"threshold": 0.5, "overlap": 0.5, **LIMITS},
}
SEMANTIC = {"_target_": "maskmill.postprocess.semantic.SemanticSegments"}


class Constant(nn.Module):
    """A network whose outputs are numbers."""

    def __init__(self, num_classes, stride=32, **values):
        super().__init__()
        self.stride = stride
        self.values = values

    def body(self, images):
        batch, _, height, width = images.shape
        assert height % self.stride == width % self.stride == 0
        return {name: torch.full((batch, 1, height, width), x) for name, x in self.values.items()}


def test_each_output_is_the_mean_over_the_networks():
    values = [(32, 1.0, 0.1), (64, 2.0, 0.2), (32, 6.0, 0.9)]
    networks = [partial(Constant, stride=s, semantic=x, center=y) for s, x, y in values]
    outputs = Ensemble(networks, num_classes=4)(torch.zeros(2, 3, 40, 70, dtype=torch.uint8))
    assert outputs["semantic"].shape == (2, 1, 40, 70)
    assert outputs["semantic"].unique().tolist() == [3.0]
    assert outputs["center"].unique().tolist() == pytest.approx([0.4])


def test_an_ensemble_of_nothing_is_refused():
    with pytest.raises(ValueError, match="Expected the networks of an ensemble, but got none"):
        Ensemble([], num_classes=4)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two untrained models, of data with different digests."""
    folders = []
    for seed in range(2):
        torch.manual_seed(seed)
        node = OmegaConf.create({"n": NETWORK}).n
        network = build(node, nn.Module, num_classes=CATEGORIES.num_outputs).eval()
        folder = tmp_path_factory.mktemp("model")
        config = {"network": NETWORK, "task": {"postprocess": GROUPING}}
        write_model(folder, network.state_dict(), config, CATEGORIES, f"data {seed}")
        folders.append(folder)
    return folders


def outputs_of(folder, image):
    """The raw outputs of a loaded model, and the model."""
    loaded = load_model(str(folder), device="cpu")
    return loaded.predictor.network.maps(image.transpose(2, 0, 1)[None].copy()), loaded


@pytest.mark.slow
def test_outputs_are_the_mean_and_two_of_the_same_model_give_those_of_one(models, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)
    members = list(map(read_model, models))
    first, one = outputs_of(models[0], image)
    second, _ = outputs_of(models[1], image)
    written = write_ensemble(members, tmp_path / "both")
    both, ensemble = outputs_of(tmp_path / "both", image)
    for name, value in both.items():
        torch.testing.assert_close(value, (first[name] + second[name]) / 2, rtol=0, atol=0)
    write_ensemble([members[0], members[0]], tmp_path / "twice")
    twice, same = outputs_of(tmp_path / "twice", image)
    assert all(torch.equal(twice[name], first[name]) for name in first)
    (alone,) = one.predictor([image])
    (together,) = same.predictor([image])
    np.testing.assert_array_equal(alone.panoptic.ids, together.panoptic.ids)
    assert isinstance(ensemble.predictor.postprocess, PanopticGrouping)
    assert one.predictor.postprocess.table.calibration.temperature == 3
    assert ensemble.predictor.postprocess.table.calibration.temperature == 1
    assert len({one.files.fingerprint, same.files.fingerprint, ensemble.files.fingerprint}) == 3
    assert written.members == tuple(member.fingerprint for member in members)
    assert same.files.data_digest == "data 0"
    assert written.data_digest not in {"data 0", "data 1"}


@pytest.mark.slow
def test_it_has_the_same_bytes_again(models, tmp_path):
    members = list(map(read_model, models))
    once = write_ensemble(members, tmp_path / "once")
    again = write_ensemble(members, tmp_path / "again")
    assert once.fingerprint == again.fingerprint
    with pytest.raises(ValueError, match="a single model, but got an ensemble of 2 - list its"):
        write_ensemble([once, members[0]], tmp_path / "nested")


@pytest.mark.slow
def test_its_graph_gives_the_outputs_of_the_network(models, tmp_path):
    write_ensemble(list(map(read_model, models)), tmp_path / "both")
    network = load_network(read_model(tmp_path / "both"))
    assert export_onnx(network, tmp_path / "graph").is_file()  # which compares the outputs


FPN = {
    "_target_": "maskmill.networks.decoders.EncoderDecoder",
    "encoder": NETWORK["encoder"],
    "decoder": {"_target_": "segmentation_models_pytorch.FPN", "_partial_": True},
    **{"stride": 32, "auxiliary": False},
}
ENSEMBLE = {"_target_": "maskmill.networks.ensemble.Ensemble"}
PARTIAL = {**NETWORK, "_partial_": True}
DECODER = {"_target_": "segmentation_models_pytorch.Unet", "_partial_": True}
HOSTILE = {
    "too many": ([PARTIAL] * (MAX_NETWORKS + 1), "but got 33 networks"),
    "one": ([PARTIAL], "but got 1 networks"),
    "text": ("networks", "but got 0 networks"),
    "nested": ([PARTIAL, {**ENSEMBLE, "networks": [PARTIAL] * 2}], "inside another part"),
    "a decoder, which would ask a hub": ([DECODER] * 2, "got 'segmentation_models_pytorch.Unet"),
    "an encoder": ([{**ENCODER, "_partial_": True}] * 2, "but got 'maskmill.networks.encoders"),
    "whole": ([NETWORK] * 2, "expected a network with `_partial_: true`"),
    "numbers": ([1, 2], "expected a network with `_partial_: true`, but got 1"),
}


@pytest.mark.parametrize(("networks", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_description_with_other_networks_is_refused_before_one_is_built(networks, message):
    with pytest.raises(ValueError, match=message):
        without_files({**ENSEMBLE, "networks": networks}, "config.network")


@pytest.mark.parametrize("number", [0, 1, MAX_NETWORKS + 1])
def test_another_number_of_models_is_refused(number, tmp_path):
    with pytest.raises(ValueError, match=f"2 to 32 models in `ensemble.models`, but got {number} "):
        EnsembleSettings(["a"] * number, tmp_path)


def test_a_registered_version_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"got models:/street/1: a registered version has an ex"):
        EnsembleSettings(["a", "models:/street/1"], tmp_path)


@pytest.mark.slow
def test_a_network_with_other_outputs_is_refused(models, tmp_path):
    node = OmegaConf.create({"n": FPN}).n
    network = build(node, nn.Module, num_classes=CATEGORIES.num_outputs).eval()
    config = {"network": FPN, "task": {"postprocess": GROUPING}}
    other = write_model(tmp_path / "fpn", network.state_dict(), config, CATEGORIES, "digest")
    with pytest.raises(ValueError, match="with the outputs of .*center.*, but got .*semantic"):
        write_ensemble([read_model(models[0]), other], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_a_model_without_weights_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no model.safetensors - give the folder of"):
        require_same_kind([ModelFiles(tmp_path / "model.json", {}, CATEGORIES, "data", "model")])


def described(tmp_path, postprocess, categories=CATEGORIES, task="tasks.PanopticTask"):
    (tmp_path / "model.safetensors").touch()
    config = {"network": NETWORK, "task": {"_target_": task, "postprocess": postprocess}}
    return ModelFiles(tmp_path / "model.json", config, categories, "data", "model")


def test_models_that_do_not_fit_are_refused_with_the_difference(tmp_path):
    grouping = described(tmp_path, GROUPING)
    others = Categories([replace(category, name=f"{category.name}s") for category in CATEGORIES])
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="grounds, skys, balls, boxs in place of ground, sky, b"):
        write_ensemble([grouping, described(tmp_path, GROUPING, others)], out)
    with pytest.raises(ValueError, match=r"PanopticGrouping, as of .* got .*SemanticSegments"):
        write_ensemble([grouping, described(tmp_path, SEMANTIC)], out)
    instances = described(tmp_path, GROUPING, task="tasks.InstanceTask")
    with pytest.raises(ValueError, match=r"expected PanopticTask with .* got InstanceTask with "):
        write_ensemble([grouping, instances], out)
    with pytest.raises(ValueError, match="queries of mask classification are in no common order"):
        write_ensemble([described(tmp_path, MASKS), described(tmp_path, MASKS)], out)
    assert not out.exists()
