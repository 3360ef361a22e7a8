from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from maskmill.networks.encoders import Normalisation, TimmEncoder


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
    imagenet, half = TimmEncoder("resnet18").normalisation(), TimmEncoder("tf_efficientnet_lite0").normalisation()
    assert (imagenet.mean / 255).flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert (imagenet.std / 255).flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])
    assert (half.mean / 255).flatten().tolist() == pytest.approx([0.5, 0.5, 0.5])


def test_normalisation_takes_bytes_and_fractions_of_them():
    normalise = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    image = torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 3, 1, 1)
    assert normalise(image).flatten().tolist() == pytest.approx([-2, 2, -1.2])  # (x / 255 - 1/2) * 4
    torch.testing.assert_close(normalise(image.double()), normalise(image))


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_local_weights_are_loaded_and_the_classifier_is_left(tmp_path, ending):
    source = timm.create_model("resnet10t")
    path = tmp_path / f"weights.{ending}"
    safetensors.torch.save_file(source.state_dict(), path) if ending == "safetensors" else torch.save(source.state_dict(), path)
    encoder = TimmEncoder("resnet10t", weights=path).create()
    loaded = {name: value for name, value in encoder.model.state_dict().items()}
    assert "fc.weight" in source.state_dict()
    assert "fc.weight" not in loaded
    for name, value in loaded.items():
        torch.testing.assert_close(value, source.state_dict()[name], rtol=0, atol=0)


def test_weights_of_another_backbone_are_refused(tmp_path):
    safetensors.torch.save_file(timm.create_model("mobilenetv3_small_050").state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors: expected weights of resnet10t"):
        TimmEncoder("resnet10t", weights=tmp_path / "other.safetensors").create()


def test_weights_of_other_widths_are_refused(tmp_path):
    state = timm.create_model("resnet10t").state_dict()
    state["layer1.0.conv1.weight"] = state["layer1.0.conv1.weight"][:2].clone()
    safetensors.torch.save_file(state, tmp_path / "narrow.safetensors")
    with pytest.raises(ValueError, match=r"narrow\.safetensors: expected weights of resnet10t.*layer1\.0\.conv1\.weight"):
        TimmEncoder("resnet10t", weights=tmp_path / "narrow.safetensors").create()


def test_pickled_objects_are_not_loaded_as_weights(tmp_path):
    torch.save({"model": timm.create_model("resnet10t")}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"model\.pth: expected a state dict of tensors"):
        TimmEncoder("resnet10t", weights=tmp_path / "model.pth").create()


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        pytest.param({"name": "resnet81"}, ValueError, r"timm model.*'resnet81'.*did you mean.*resnet18", id="unknown-name"),
        pytest.param({"name": "resnet18", "pretrained": True, "weights": Path("w.pth")}, ValueError, "got both", id="two-kinds-of-weights"),
        pytest.param({"name": "resnet18", "weights": Path("absent.pth")}, FileNotFoundError, r"absent\.pth.*mend", id="absent-file"),
    ],
)
def test_wrong_values_are_refused(values, error, message):
    with pytest.raises(error, match=message):
        TimmEncoder(**values)
