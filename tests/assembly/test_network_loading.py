"""The network of a model folder is the trained one, and nothing beside the folder is read."""

import copy

import pytest
import torch
from omegaconf import OmegaConf
from transformers import (
    EomtConfig,
    EomtForUniversalSegmentation,
)

from commands import SMALL_ENCODER
from maskmill.assembly.build import build
from maskmill.assembly.network_loading import described_network, load_network
from maskmill.serving.model_files import write_model
from strategies import CATEGORIES
from tiny_mask2former import tiny_mask2former

ENCODER = {"_target_": "maskmill.networks.encoders.TimmEncoder", "name": SMALL_ENCODER}
FPN = {"_target_": "segmentation_models_pytorch.FPN", "_partial_": True}
NETWORK = {
    "_target_": "maskmill.networks.decoders.EncoderDecoder",
    "encoder": ENCODER | {"pretrained": False, "weights": None},
    "decoder": FPN | {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32},
}
POSTPROCESS = {"_target_": "maskmill.postprocess.semantic.SemanticSegments"}
IMAGES = torch.arange(3 * 64 * 96, dtype=torch.uint8).view(1, 3, 64, 96)


def built(node):
    num_classes = CATEGORIES.num_outputs
    config = OmegaConf.create({"network": node})
    return build(config.network, torch.nn.Module, num_classes=num_classes)


@pytest.fixture(scope="module")
def network():
    return built(NETWORK).eval()


def written(folder, network, **changes):
    """A model folder whose description has changed values at dotted places."""
    node = copy.deepcopy(described_network(NETWORK, network))
    for place, value in changes.items():
        *parents, last = place.split("__")
        part = node
        for key in parents:
            part = part[key]
        part[last] = value
    config = {"network": node, "task": {"postprocess": POSTPROCESS}}
    return write_model(folder, network.state_dict(), config, CATEGORIES, "digest")


def outputs(network):
    with torch.no_grad():
        return network(IMAGES)


@pytest.mark.slow
def test_weights_that_the_encoder_started_from_are_not_read_again(tmp_path, network):
    files = written(
        tmp_path, network, encoder__pretrained=True, encoder__weights="/nowhere/weights.pth"
    )
    loaded = load_network(files)
    assert torch.equal(outputs(loaded)["semantic"], outputs(network)["semantic"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder__checkpoint_path": "/etc/passwd"}, "got 'checkpoint_path', which a model file"),
        ({"decoder__pretrained_cfg_overlay": {"file": "x"}}, "got 'pretrained_cfg_overlay', which"),
        ({"decoder__encoder_weights": "imagenet"}, "got 'encoder_weights', which a model file"),
        ({"decoder__encoder_name": "resnet18"}, "got 'encoder_name', which a model file"),
        ({"decoder___partial_": False}, "_partial_: expected true for a decoder, but got False"),
        ({"decoder__decoder_dropout": "x"}, "expected float, but got 'x'"),
        ({"encoder__name": "hf-hub:evil/model"}, "Expected the name of a timm model, but got 'hf-"),
        ({"encoder__name": "/etc/passwd"}, "Expected the name of a timm model"),
        ({"encoder__file": "/etc/passwd"}, "has no argument 'file', only name"),
        ({"encoder__in_channels": 10**6}, "expected whole numbers up to 16384, but got 1000000"),
        ({"encoder": None}, "expected TimmEncoder, but got None"),
        ({"_partial_": True}, "expected a network, but got a partial"),
        ({"stride": "32"}, "stride: expected int, but got '32'"),
        (
            {"_target_": "maskmill.networks.eomt.from_checkpoint", "checkpoint": "evil/model"},
            "expected the `architecture` of a network that began as a checkpoint",
        ),
    ],
)
def test_arguments_that_lead_elsewhere_or_do_not_fit_are_refused(
    tmp_path, network, changes, message
):
    files = written(tmp_path, network, **changes)
    with pytest.raises(ValueError, match=message):
        load_network(files)


def change_weights(name, change):
    def changed(weights):
        return weights | {name: change(weights[name])}

    return changed


HEAD = "model.segmentation_head.0.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: {k: v for k, v in w.items() if k != HEAD}, f"1 tensors .*{HEAD} is missing"),
        (lambda w: w | {"other": torch.zeros(1)}, "1 tensors do not fit: other is unknown"),
        (lambda w: {}, r"\d+ tensors do not fit: model.decoder.* is missing"),
        (change_weights(HEAD, lambda v: v[:1]), rf"{HEAD} is torch.float32 \(1, "),
        (change_weights(HEAD, lambda v: v.long()), rf"{HEAD} is torch.int64 "),
        (change_weights(HEAD, lambda v: v.to(torch.complex64)), rf"{HEAD} is torch.complex64 "),
    ],
)
def test_weights_of_another_network_are_named(tmp_path, network, change, message):
    weights = {key: value.contiguous() for key, value in network.state_dict().items()}
    config = {"network": NETWORK, "task": {"postprocess": POSTPROCESS}}
    files = write_model(tmp_path, change(weights), config, CATEGORIES, "digest")
    with pytest.raises(ValueError, match=rf"{message}.* - either copy both files again or train"):
        load_network(files)


def test_weights_with_fewer_bits_are_loaded(tmp_path, network):
    weights = network.state_dict()
    weights[HEAD] = weights[HEAD].bfloat16()
    config = {"network": NETWORK, "task": {"postprocess": POSTPROCESS}}
    loaded = load_network(write_model(tmp_path, weights, config, CATEGORIES, "digest"))
    assert torch.equal(loaded.state_dict()[HEAD], weights[HEAD].float())


def tiny(name):
    if name == "eomt":
        return EomtForUniversalSegmentation(
            EomtConfig(
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_blocks=1,
                num_queries=4,
                image_size=64,
                mlp_ratio=2,
            )
        )
    return tiny_mask2former()


@pytest.mark.parametrize("name", ["eomt", "mask2former"])
def test_a_network_that_began_as_a_checkpoint_loads_without_it(tmp_path, name):
    tiny(name).save_pretrained(tmp_path / "checkpoint")
    node = {
        "_target_": f"maskmill.networks.{name}.from_checkpoint",
        "checkpoint": str(tmp_path / "checkpoint"),
    }
    network = built(node).eval()
    (tmp_path / "checkpoint").rename(tmp_path / "moved")
    described = described_network(node, network)
    assert str(tmp_path) not in str(described)
    hostile = {"_attn_implementation": "evil/kernel", "auto_map": {"AutoModel": "evil--m.Model"}}
    described["architecture"] |= hostile | {"_name_or_path": "evil/model"}
    config = {"network": described, "task": {"postprocess": POSTPROCESS}}
    files = write_model(tmp_path / "model", network.state_dict(), config, CATEGORIES, "digest")
    loaded = load_network(files)
    for key, value in outputs(network).items():
        assert torch.equal(outputs(loaded)[key], value)


def test_an_architecture_with_an_unknown_backbone_is_refused(tmp_path, network):
    files = written(
        tmp_path,
        network,
        _target_="maskmill.networks.mask2former.from_checkpoint",
        architecture={"backbone_config": {"model_type": "timm_backbone", "backbone": "evil/x"}},
    )
    for key in ("encoder", "decoder"):
        del files.config["network"][key]
    with pytest.raises(ValueError, match="Expected a backbone of type swin.*'timm_backbone'"):
        load_network(files)
