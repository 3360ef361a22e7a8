"""What every network of conf/network guarantees."""

import pytest
import torch
from torch.export import Dim

from maskmill.networks.decoders import EncoderDecoder
from maskmill.networks.encoders import TimmEncoder
from maskmill.networks.panoptic_deeplab import PanopticDeepLab, resize
from strided_network import StridedNetwork

NETWORKS = ["unet", "fpn", "deeplabv3plus", "panoptic_deeplab"]
SIZES = [(97, 131), (64, 200), (33, 50), (96, 160), (1, 7)]


def num_weights(network):
    return sum(value.numel() for value in network.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_have_the_size_of_the_images(build_network, random_images, shapes_of, name):
    network = build_network(name, num_classes=3).eval()
    num_channels = {"semantic": 3}
    if name == "panoptic_deeplab":
        num_channels |= {"center": 1, "offset": 2}
    for size in SIZES:
        with torch.no_grad():
            outputs = network(random_images(size))
        expected = {key: (2, channels, *size) for key, channels in num_channels.items()}
        assert shapes_of(outputs) == expected


@pytest.mark.parametrize("name", NETWORKS)
def test_an_image_padded_by_the_caller_gives_the_same_outputs(build_network, random_images, name):
    network = build_network(name).eval()
    image = random_images((70, 100))
    padded_image = torch.zeros(2, 3, 96, 128, dtype=torch.uint8)
    padded_image[:, :, :70, :100] = image
    with torch.no_grad():
        outputs = network(image)
        padded_outputs = network(padded_image)
    for key, output in outputs.items():
        assert torch.equal(output, padded_outputs[key][..., :70, :100])


@pytest.mark.parametrize("name", NETWORKS)
def test_normalisation_is_saved_with_the_weights(build_network, name):
    state = build_network(name).state_dict()
    assert {"normalise.mean", "normalise.std"} <= state.keys()


@pytest.mark.slow
def test_torch_cannot_export_the_padding_so_networks_have_a_body(random_images):
    """Fails once torch can export it: then remove `body`, `stride` and the padding in serving."""
    network = StridedNetwork().eval()
    dynamic = {
        0: Dim("batch", min=1, max=64),
        2: Dim("height", min=1, max=4096),
        3: Dim("width", min=1, max=4096),
    }
    with torch.no_grad(), pytest.raises(Exception, match=r"(?i)constraint|guard|inconsistent"):
        torch.export.export(network, (random_images((97, 131)),), dynamic_shapes=(dynamic,))


@pytest.mark.slow
def test_a_shared_decoder_is_smaller_and_gives_the_same_outputs(
    build_network, random_images, shapes_of
):
    dual = build_network("panoptic_deeplab", "network.dual_decoder=true").eval()
    shared = build_network("panoptic_deeplab", "network.dual_decoder=false").eval()
    assert num_weights(shared) < num_weights(dual)
    images = random_images((64, 96))
    with torch.no_grad():
        assert shapes_of(shared(images)) == shapes_of(dual(images))


@pytest.mark.parametrize("scale", [0.5, 2])
def test_a_scaled_network_gives_offsets_in_px_of_the_image(
    build_network, random_images, shapes_of, scale
):
    network = build_network("panoptic_deeplab", f"network.scale={scale}").eval()
    last = network.offset_head[-1]
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.ones_(last.bias)  # one cell: 4 px of the network, 4 / scale px of the image
    with torch.no_grad():
        outputs = network(random_images((70, 100)))
    assert shapes_of(outputs)["center"] == (2, 1, 70, 100)
    assert torch.equal(outputs["offset"], torch.full((2, 2, 70, 100), 4 / scale))


def test_images_are_scaled_by_means_of_squares_and_by_interpolation():
    image = torch.tensor([[0.0, 4.0], [8.0, 12.0]])[None, None]
    assert resize(image, 0.5).tolist() == [[[[6.0]]]]
    assert resize(image, 2)[0, 0, 0].tolist() == [0.0, 1.0, 3.0, 4.0]
    assert resize(image, 1) is image


@pytest.mark.parametrize("starts", [True, False])
def test_centres_and_offsets_start_at_zero_if_asked(build_network, random_images, starts):
    network = build_network("panoptic_deeplab", f"network.start_at_zero={starts}")
    outputs = network(random_images((64, 64)))
    for name in ("center", "offset"):
        assert bool(outputs[name].any()) != starts
        assert outputs[name].requires_grad


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "overrides"),
    [("resnet18", []), ("timm", ["encoder.name=mobilenetv3_small_050"])],
    ids=["resnet18", "timm"],
)
def test_any_encoder_of_conf_fits(build_network, random_images, encoder, overrides):
    network = build_network("panoptic_deeplab", *overrides, encoder=encoder).eval()
    with torch.no_grad():
        outputs = network(random_images((64, 64)))
    assert outputs["semantic"].shape == (2, 5, 64, 64)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("network.width=6", r"network\.width: .*greater than or equal to 8"),
        ("network.width=9", r"network\.width: .*multiple of 2"),
        ("network.width='64'", r"network\.width: expected int"),
        ("network.atrous_rates=[2,4]", r"network\.atrous_rates: .*at least 3 items"),
        ("network.atrous_rates=[2,4,0]", r"network\.atrous_rates: .*greater than or equal to 1"),
        ("network.scale=3", r"`scale` to be one of 0.25, 0.5, 1.0, 2.0"),
        ("network.output_stride=8", r"network\.output_stride: .*should be 16 or 32"),
        ("encoder.name=resnet81", "did you mean"),
    ],
)
def test_settings_out_of_range_raise_a_value_error(build_network, override, message):
    with pytest.raises(ValueError, match=message):
        build_network("panoptic_deeplab", override)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("num_classes", [0, -1])
def test_fewer_than_one_class_raises_a_value_error(build_network, name, num_classes):
    with pytest.raises(ValueError, match=rf"Expected `num_classes` .*got {num_classes}"):
        build_network(name, num_classes=num_classes)


def test_a_decoder_of_another_library_raises_a_value_error():
    def decoder(**settings):
        return torch.nn.Identity()

    with pytest.raises(ValueError, match=r"Expected .*segmentation_models_pytorch.*got a Identity"):
        EncoderDecoder(TimmEncoder("resnet10t"), decoder, num_classes=2)


def test_a_stride_below_1_px_raises_a_value_error(build_network):
    with pytest.raises(ValueError, match=r"network\.stride: .*greater than or equal to 1"):
        build_network("unet", "network.stride=0")


def test_offsets_are_in_pixels_of_the_image(random_images):
    encoder = TimmEncoder("resnet10t")
    network = PanopticDeepLab(encoder, width=16, atrous_rates=[1, 2, 3], num_classes=2).eval()
    last_layer = network.offset_head[-1]
    torch.nn.init.zeros_(last_layer.weight)
    last_layer.bias.data = torch.tensor([1.0, -2.0])  # in pixels of the map at stride 4
    offset = network(random_images((64, 64)))["offset"]
    assert offset[:, 0].unique().tolist() == [4.0]
    assert offset[:, 1].unique().tolist() == [-8.0]


def test_a_training_batch_of_one_image_raises_a_value_error(build_network, random_images):
    network = build_network("panoptic_deeplab").train()
    with pytest.raises(ValueError, match=r"at least two images.*got one.*data\.batch_size"):
        network(random_images((64, 64), batch=1))
