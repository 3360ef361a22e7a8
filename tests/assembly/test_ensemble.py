"""Several models that predict as one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from commands import SMALL_ENCODER
from maskmill.assembly.build import build
from maskmill.assembly.ensemble import Ensemble, describe_ensemble
from maskmill.assembly.model_loading import load_model
from maskmill.canonical.categories import Categories
from maskmill.postprocess.panoptic import PanopticGrouping
from maskmill.serving.model_files import ModelFiles, write_model
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

    def __init__(self, **values):
        super().__init__()
        self.values = values

    def forward(self, images):
        return {name: torch.full((len(images), 1), value) for name, value in self.values.items()}


def test_each_output_is_the_mean_over_the_networks():
    networks = [Constant(semantic=1.0, center=0.1), Constant(semantic=2.0, center=0.2)]
    ensemble = Ensemble([*networks, Constant(semantic=6.0, center=0.9)])
    outputs = ensemble(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    assert outputs["semantic"].tolist() == [[3.0], [3.0]]
    assert outputs["center"].flatten().tolist() == pytest.approx([0.4, 0.4])


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two untrained models."""
    folders = []
    for seed in range(2):
        torch.manual_seed(seed)
        node = OmegaConf.create({"n": NETWORK}).n
        network = build(node, nn.Module, num_classes=CATEGORIES.num_outputs).eval()
        folder = tmp_path_factory.mktemp("model")
        config = {"network": NETWORK, "task": {"postprocess": GROUPING}}
        write_model(folder, network.state_dict(), config, CATEGORIES, "digest")
        folders.append(str(folder))
    return folders


def outputs_of(names, image):
    """The raw outputs of a loaded model, and the model."""
    loaded = load_model(names, device="cpu")
    return loaded.predictor.network.maps(image.transpose(2, 0, 1)[None].copy()), loaded


@pytest.mark.slow
def test_outputs_are_the_mean_and_two_of_the_same_model_give_those_of_one(models):
    image = np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)
    first, one = outputs_of(models[0], image)
    second, _ = outputs_of(models[1], image)
    both, ensemble = outputs_of(models, image)
    for name, value in both.items():
        torch.testing.assert_close(value, (first[name] + second[name]) / 2, rtol=0, atol=0)
    twice, same = outputs_of([models[0], models[0]], image)
    assert all(torch.equal(twice[name], first[name]) for name in first)
    (alone,) = one.predictor([image])
    (together,) = same.predictor([image])
    np.testing.assert_array_equal(alone.panoptic.ids, together.panoptic.ids)
    assert isinstance(ensemble.predictor.postprocess, PanopticGrouping)
    assert one.predictor.postprocess.table.calibration.temperature == 3
    assert ensemble.predictor.postprocess.table.calibration.temperature == 1
    assert len({one.files.fingerprint, same.files.fingerprint, ensemble.files.fingerprint}) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chosen", "runtime", "message"),
    [
        (slice(0), "auto", r"at least two, but got \[\] - give one model without brackets"),
        (slice(1), "auto", r"expected a model or a list of at least two, but got \['"),
        (slice(2), "onnx", r"expected torch or torch_bf16 for several models, but got onnx"),
    ],
    ids=["none", "one", "graph"],
)
def test_a_list_that_is_no_ensemble_is_refused(models, chosen, runtime, message):
    with pytest.raises(ValueError, match=message):
        load_model(models[chosen], device="cpu", runtime=runtime)


def described(tmp_path, postprocess, categories=CATEGORIES):
    config = {"network": NETWORK, "task": {"postprocess": postprocess}}
    return ModelFiles(tmp_path / "model.json", config, categories, "data", "model")


def test_models_that_do_not_fit_are_refused_with_the_difference(tmp_path):
    grouping = described(tmp_path, GROUPING)
    others = Categories([replace(category, name=f"{category.name}s") for category in CATEGORIES])
    with pytest.raises(ValueError, match="grounds, skys, balls, boxs in place of ground, sky, b"):
        describe_ensemble([grouping, described(tmp_path, GROUPING, others)])
    with pytest.raises(ValueError, match=r"PanopticGrouping, as of .* got .*SemanticSegments"):
        describe_ensemble([grouping, described(tmp_path, SEMANTIC)])
    with pytest.raises(ValueError, match="queries of mask classification are in no common order"):
        describe_ensemble([described(tmp_path, MASKS), described(tmp_path, MASKS)])
