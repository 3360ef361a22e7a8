"""Every decoder of conf/network on a convolutional and on a transformer encoder."""

from itertools import product

import pytest
import torch
from omegaconf import OmegaConf
from torch.nn import functional as F

from maskmill.assembly.build import build
from maskmill.losses.auxiliary import WithAuxiliary
from maskmill.losses.semantic import CrossEntropy
from maskmill.serving.program import export_program, load_program

SIZE = (97, 131)
CONVOLUTIONAL = "resnet10t"
TRANSFORMER = "pvt_v2_b0"
PLAIN_TRANSFORMER = "vit_tiny"
DILATING = ["deeplabv3", "deeplabv3plus", "pan"]  # timm's transformers cannot be dilated
NOT_DILATING = [
    "fpn",
    "linknet",
    "manet",
    "pspnet",
    "segformer",
    "unet",
    "unetplusplus",
    "upernet",
]
DECODERS = [*DILATING, *NOT_DILATING, "dpt"]
PAIRS = [
    *product([*DECODERS, "panoptic_deeplab"], [CONVOLUTIONAL]),
    *product([*NOT_DILATING, "dpt"], [TRANSFORMER]),
    ("dpt", PLAIN_TRANSFORMER),
]
# One network for each kind of operation whose shapes an export traces: a pyramid, pooling to a
# fixed grid, dilation, attention, queries. Each export of a user's network compares itself.
EXPORTED = [
    ("unet", CONVOLUTIONAL),
    ("pspnet", CONVOLUTIONAL),
    ("panoptic_deeplab", CONVOLUTIONAL),
    ("mask2former", CONVOLUTIONAL),
    ("segformer", TRANSFORMER),
    ("dpt", PLAIN_TRANSFORMER),
    ("eomt", PLAIN_TRANSFORMER),
]
# A second layer, decoder or half of a ViT's blocks would trace the operations of the first again.
SMALL = {
    "mask2former": ["network.pixel_layers=1", "network.decoder_layers=1"],
    "panoptic_deeplab": ["network.dual_decoder=false"],
    "dpt": ["encoder.name=test_vit"],
    "eomt": ["encoder.name=test_vit", "network.num_blocks=1"],
}


def keep_one_block_per_stage(network):
    """Shorten the stages of a pyramid of transformers; others stay as they are."""
    for module in network.modules():
        if type(module).__name__ == "PyramidVisionTransformerStage":
            module.blocks = module.blocks[:1]


def random_target(size):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 3, (2, *size), generator=generator)


@pytest.mark.slow
@pytest.mark.parametrize(("decoder", "encoder"), PAIRS)
def test_every_weight_gets_a_finite_gradient_on_images_of_an_odd_size(
    build_network, random_images, weights_without_gradient, decoder, encoder
):
    network = build_network(decoder, encoder=encoder, num_classes=3).train()
    images = random_images(SIZE)
    outputs = network(images)
    assert outputs["semantic"].shape == (2, 3, *SIZE)
    assert {tuple(output.shape[2:]) for output in outputs.values()} == {SIZE}
    loss = F.cross_entropy(outputs.pop("semantic"), random_target(SIZE))
    for output in outputs.values():
        loss = loss + output.square().mean()
    loss.backward()
    assert weights_without_gradient(network) == []
    with torch.no_grad():
        assert network.eval()(images)["semantic"].shape == (2, 3, *SIZE)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "encoder"), EXPORTED)
def test_the_exported_program_gives_the_same_outputs_at_other_sizes(
    build_network, random_images, name, encoder, tmp_path
):
    network = build_network(name, *SMALL.get(name, []), encoder=encoder).eval()
    keep_one_block_per_stage(network)
    export_program(network, tmp_path)
    program = load_program(tmp_path)
    for batch, size in enumerate([(97, 131), (64, 200), (33, 50), (96, 160)], start=1):
        images = random_images(size, batch=batch, seed=batch)
        with torch.no_grad():
            expected = network(images)
            exported = program(images)
        assert exported.keys() == expected.keys()
        for key in expected:  # fused kernels may round differently
            torch.testing.assert_close(exported[key], expected[key], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("decoder", [*DILATING, "panoptic_deeplab"])
def test_decoders_that_dilate_their_encoder_reject_transformers(build_network, decoder):
    message = (
        rf"{TRANSFORMER} does not.*output_stride.*cannot be dilated fit unet, fpn, upernet, "
        "segformer"
    )
    with pytest.raises(ValueError, match=message):
        build_network(decoder, encoder=TRANSFORMER)


@pytest.mark.slow
@pytest.mark.parametrize("decoder", [*DILATING, *NOT_DILATING, "panoptic_deeplab"])
def test_decoders_that_need_a_pyramid_reject_plain_transformers(build_network, decoder):
    message = (
        r"Expected a backbone that fits.*vit_tiny_patch16_224 does not.*"
        "plain ViTs fit network=dpt"
    )
    with pytest.raises(ValueError, match=message):
        build_network(decoder, encoder=PLAIN_TRANSFORMER)


def test_the_documentation_lists_the_encoders_that_fit(repository):
    rows = (repository / "docs/combinations.md").read_text().partition("| batch of one |")[2]
    for name in [*DECODERS, "panoptic_deeplab"]:
        pyramid = "yes" if name in [*NOT_DILATING, "dpt"] else "no"
        plain = "yes" if name == "dpt" else "no"
        assert f"| {name} | yes | {pyramid} | {plain} |" in rows


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["unet", "pspnet", "upernet"])
def test_auxiliary_logits_add_a_loss_term_in_training(
    build_network, random_images, weights_without_gradient, decoder
):
    network = build_network(decoder, "network.auxiliary=true", num_classes=3).train()
    target = random_target((64, 96))
    outputs = network(random_images((64, 96)))
    assert outputs["auxiliary"].shape == outputs["semantic"].shape == (2, 3, 64, 96)
    terms = WithAuxiliary(CrossEntropy(), weight=0.4)(outputs, {"semantic": target.byte()})
    expected = 0.4 * F.cross_entropy(outputs["auxiliary"], target).item()
    assert terms["auxiliary_cross_entropy"].item() == pytest.approx(expected, rel=1e-5)
    sum(terms.values()).backward()
    assert weights_without_gradient(network) == []


@pytest.mark.parametrize("decoder", ["unet", "pspnet", "upernet"])
def test_there_are_no_auxiliary_logits_in_evaluation(build_network, random_images, decoder):
    network = build_network(decoder, "network.auxiliary=true", num_classes=3).eval()
    with torch.no_grad():
        outputs = network(random_images((64, 96)))
    assert outputs.keys() == {"semantic"}
    target = {"semantic": random_target((64, 96)).byte()}
    assert WithAuxiliary(CrossEntropy())(outputs, target).keys() == {"cross_entropy"}


def test_auxiliary_logits_of_plain_transformers_raise_a_value_error(build_network):
    with pytest.raises(ValueError, match=r"`auxiliary`.*but DPT.*network\.auxiliary=false"):
        build_network("dpt", "+network.auxiliary=true", encoder=PLAIN_TRANSFORMER)


def test_a_negative_weight_of_auxiliary_terms_raises_a_value_error():
    cross_entropy = {"_target_": "maskmill.losses.semantic.CrossEntropy"}
    node = {
        "_target_": "maskmill.losses.auxiliary.WithAuxiliary",
        "loss": cross_entropy,
        "weight": -0.1,
    }
    with pytest.raises(ValueError, match="weight"):
        build(OmegaConf.create({"loss": node}).loss, WithAuxiliary)
