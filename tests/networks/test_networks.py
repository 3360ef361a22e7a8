"""What every network of conf/network promises."""

import pytest
import torch
from torch.export import Dim

from maskmill.networks.decoders import EncoderDecoder
from maskmill.networks.encoders import TimmEncoder
from maskmill.networks.panoptic_deeplab import PanopticDeepLab

NETWORKS = ["unet", "fpn", "deeplabv3plus", "panoptic_deeplab"]
SIZES = [(97, 131), (64, 200), (33, 50), (96, 160)]


def images(size, batch=2, seed=0):
    return torch.randint(
        0, 256, (batch, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_have_the_size_of_the_images_whatever_it_is(shipped, name):
    network = shipped(name, num_classes=3).eval()
    expected = {"semantic": 3} | ({"center": 1, "offset": 2} if name == "panoptic_deeplab" else {})
    with torch.no_grad():
        for size in [*SIZES, (1, 7)]:
            outputs = network(images(size))
            assert {key: tuple(value.shape) for key, value in outputs.items()} == {
                key: (2, k, *size) for key, k in expected.items()
            }


@pytest.mark.parametrize("name", NETWORKS)
def test_an_image_padded_by_hand_gives_the_same(shipped, name):
    network = shipped(name).eval()
    small = images((70, 100))
    padded = torch.zeros(2, 3, 96, 128, dtype=torch.uint8)
    padded[:, :, :70, :100] = small
    with torch.no_grad():
        ours, by_hand = network(small), network(padded)
    for key in ours:
        assert torch.equal(ours[key], by_hand[key][..., :70, :100])


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_learns(shipped, name):
    network = shipped(name).train()
    sum(output.square().mean() for output in network(images((64, 96))).values()).backward()
    assert [key for key, value in network.named_parameters() if value.grad is None] == []


@pytest.mark.parametrize("name", NETWORKS)
def test_normalisation_travels_with_the_weights(shipped, name):
    assert {"normalise.mean", "normalise.std"} <= shipped(name).state_dict().keys()


@pytest.mark.slow
def test_torch_cannot_export_the_padding_which_is_why_a_network_has_a_body(shipped):
    """Fails once torch can: then `body`, `stride` and the padding in serving may go."""
    dynamic = {
        0: Dim("batch", min=1, max=64),
        2: Dim("height", min=1, max=4096),
        3: Dim("width", min=1, max=4096),
    }
    with torch.no_grad(), pytest.raises(Exception, match=r"(?i)constraint|guard|inconsistent"):
        torch.export.export(
            shipped("panoptic_deeplab").eval(), (images((97, 131)),), dynamic_shapes=(dynamic,)
        )


def test_one_decoder_for_both_is_smaller_and_gives_the_same_outputs(shipped):
    dual, shared = (
        shipped("panoptic_deeplab", f"network.dual_decoder={value}").eval()
        for value in ("true", "false")
    )
    assert sum(value.numel() for value in shared.parameters()) < sum(
        value.numel() for value in dual.parameters()
    )
    with torch.no_grad():
        assert {key: value.shape for key, value in shared(images((64, 96))).items()} == {
            key: value.shape for key, value in dual(images((64, 96))).items()
        }


@pytest.mark.parametrize("encoder", ["resnet18", "timm"])
def test_any_encoder_of_conf_fits(shipped, encoder):
    chosen = [
        f"encoder={encoder}",
        *(["encoder.name=mobilenetv3_small_050"] if encoder == "timm" else []),
    ]
    with torch.no_grad():
        assert shipped("panoptic_deeplab", *chosen).eval()(images((64, 64)))["semantic"].shape == (
            2,
            5,
            64,
            64,
        )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("network.width=7", "even `width`"),
        ("network.width='64'", r"network\.width: expected int"),
        ("network.atrous_rates=[2,4]", "three `atrous_rates`"),
        ("network.atrous_rates=[2,4,0]", "`atrous_rates`"),
        ("network.output_stride=8", "`output_stride` of 16 or 32"),
        ("encoder.name=resnet81", "did you mean"),
    ],
)
def test_wrong_settings_are_refused(shipped, override, message):
    with pytest.raises(Exception, match=message):
        shipped("panoptic_deeplab", override)


@pytest.mark.parametrize("num_classes", [0, -1])
def test_a_network_without_classes_is_refused(shipped, num_classes):
    for name in NETWORKS:
        with pytest.raises(
            Exception, match=r"Expected `num_classes`.*got"
        ):  # Hydra wraps the ValueError
            shipped(name, num_classes=num_classes)


def test_a_decoder_that_is_none_is_refused():
    def decoder(**settings):
        return torch.nn.Identity()

    with pytest.raises(ValueError, match=r"Expected .*segmentation_models_pytorch.*got a Identity"):
        EncoderDecoder(TimmEncoder("resnet10t"), decoder, num_classes=2)


def test_the_offset_head_counts_in_pixels_of_the_image():
    network = PanopticDeepLab(
        TimmEncoder("resnet10t"), width=16, atrous_rates=[1, 2, 3], num_classes=2
    ).eval()
    last = network.offset_head[-1]
    torch.nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor([1.0, -2.0])  # in pixels of the map at stride 4
    offset = network(images((64, 64)))["offset"]
    assert offset[:, 0].unique().tolist() == [4.0]
    assert offset[:, 1].unique().tolist() == [-8.0]


def test_a_training_batch_of_one_image_is_refused_with_what_to_do(shipped):
    with pytest.raises(ValueError, match=r"at least two images.*got one.*data\.batch_size"):
        shipped("panoptic_deeplab").train()(images((64, 64), batch=1))
