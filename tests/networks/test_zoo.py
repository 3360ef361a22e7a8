"""Every decoder of conf/network on a convolutional and on a transformer encoder."""

import pytest
import torch
from torch.nn import functional as F

from maskmill.losses.auxiliary import WithAuxiliary
from maskmill.losses.semantic import CrossEntropy
from maskmill.serving.program import export_program, load_program

SIZE = (97, 131)
DECODERS = [
    "unet", "unetplusplus", "manet", "linknet", "fpn", "pspnet", "pan", "deeplabv3", "deeplabv3plus", "upernet", "segformer", "dpt",
]  # fmt: skip
CNN, TRANSFORMER, PLAIN = "resnet10t", "pvt_v2_b0", "vit_tiny"
DILATES = {
    "pan",
    "deeplabv3",
    "deeplabv3plus",
    "panoptic_deeplab",
}  # which timm's transformers cannot
FITS = [
    *((decoder, CNN) for decoder in [*DECODERS, "panoptic_deeplab"]),
    *((decoder, TRANSFORMER) for decoder in DECODERS if decoder not in DILATES),
    ("dpt", PLAIN),
]


def batch(size=SIZE):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8, generator=generator)
    return images, torch.randint(0, 3, (2, *size), generator=generator)


@pytest.mark.parametrize(("decoder", "encoder"), FITS)
def test_every_decoder_learns_on_images_of_an_odd_size(shipped, decoder, encoder):
    network = shipped(decoder, f"encoder={encoder}", num_classes=3).train()
    images, target = batch()
    outputs = network(images)
    assert outputs["semantic"].shape == (2, 3, *SIZE)
    assert all(value.shape[2:] == SIZE for value in outputs.values())
    rest = sum(value.square().mean() for key, value in outputs.items() if key != "semantic")
    (F.cross_entropy(outputs["semantic"], target) + rest).backward()
    gradients = {name: value.grad for name, value in network.named_parameters()}
    assert [name for name, value in gradients.items() if value is None] == []
    assert [name for name, value in gradients.items() if not value.isfinite().all()] == []
    with torch.no_grad():
        assert network.eval()(images)["semantic"].shape == (2, 3, *SIZE)


EXPORTED = [
    *((decoder, CNN) for decoder in [*DECODERS, "panoptic_deeplab", "mask2former"]),
    ("segformer", TRANSFORMER),
    ("dpt", PLAIN),
    ("eomt", PLAIN),
]


@pytest.mark.slow
@pytest.mark.parametrize(("network", "encoder"), EXPORTED)
def test_the_exported_program_gives_the_same_at_sizes_never_exported(
    shipped, network, encoder, tmp_path
):
    made = shipped(network, f"encoder={encoder}").eval()
    export_program(made, tmp_path)
    program = load_program(tmp_path)
    for number, size in enumerate([(97, 131), (64, 200), (33, 50), (96, 160)], start=1):
        images = torch.randint(
            0,
            256,
            (number, 3, *size),
            dtype=torch.uint8,
            generator=torch.Generator().manual_seed(number),
        )
        with torch.no_grad():
            eager, exported = made(images), program(images)
        assert eager.keys() == exported.keys()
        for key in eager:
            torch.testing.assert_close(
                exported[key], eager[key], rtol=1e-4, atol=1e-4
            )  # fused kernels may round otherwise


@pytest.mark.parametrize("decoder", sorted(DILATES))
def test_decoders_that_dilate_their_encoder_refuse_one_that_cannot_be(shipped, decoder):
    with pytest.raises(
        Exception,
        match=rf"{TRANSFORMER} does not.*output_stride.*cannot be dilated fit unet, fpn, upernet, segformer",
    ):
        shipped(decoder, f"encoder={TRANSFORMER}")


@pytest.mark.parametrize("decoder", [decoder for decoder in DECODERS if decoder != "dpt"])
def test_decoders_that_want_a_pyramid_refuse_a_plain_transformer(shipped, decoder):
    with pytest.raises(
        Exception,
        match=r"Expected a backbone that fits.*vit_tiny_patch16_224 does not.*plain ViTs fit network=dpt",
    ):
        shipped(decoder, f"encoder={PLAIN}")


@pytest.mark.parametrize("decoder", ["unet", "pspnet", "upernet"])
def test_auxiliary_logits_reach_the_encoder_in_training_only(shipped, decoder):
    network = shipped(decoder, "network.auxiliary=true", num_classes=3)
    images, target = batch((64, 96))
    outputs = network.train()(images)
    assert outputs["auxiliary"].shape == outputs["semantic"].shape == (2, 3, 64, 96)
    terms = WithAuxiliary(CrossEntropy(), weight=0.4)(outputs, {"semantic": target.byte()})
    assert terms["auxiliary_cross_entropy"].item() == pytest.approx(
        0.4 * F.cross_entropy(outputs["auxiliary"], target).item(), rel=1e-5
    )
    sum(terms.values()).backward()
    assert all(value.grad is not None for value in network.parameters())
    with torch.no_grad():
        assert network.eval()(images).keys() == {"semantic"}
    assert WithAuxiliary(CrossEntropy())(network(images), {"semantic": target.byte()}).keys() == {
        "cross_entropy"
    }


def test_auxiliary_logits_of_plain_transformers_are_refused(shipped):
    with pytest.raises(Exception, match=r"`auxiliary`.*but DPT.*mend network\.auxiliary"):
        shipped("dpt", "encoder=vit_tiny", "+network.auxiliary=true")


def test_a_negative_weight_of_auxiliary_terms_is_refused():
    with pytest.raises(ValueError, match=r"`weight` of at least 0"):
        WithAuxiliary(CrossEntropy(), weight=-0.1)
