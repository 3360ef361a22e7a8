import pytest
import torch
from torch.nn import functional as F
from transformers import (
    EomtConfig,
    EomtForUniversalSegmentation,
)

from maskmill.networks import eomt, mask2former
from maskmill.networks.encoders import TimmEncoder
from maskmill.networks.layers import learned_parameters
from maskmill.networks.vit_weights import eomt_config, load_vit
from tiny_mask2former import tiny_mask2former

FITTING = [("mask2former", "resnet10t"), ("mask2former", "pvt_v2_b0"), ("eomt", "vit_tiny")]
NOT_FITTING = [("mask2former", "vit_tiny"), ("eomt", "resnet10t"), ("eomt", "pvt_v2_b0")]
ONE_OF_EACH = [("mask2former", "resnet10t"), ("eomt", "vit_tiny")]
SMALL_MASK2FORMER = {
    "width": 32,
    "num_queries": 6,
    "pixel_layers": 1,
    "decoder_layers": 2,
    "num_heads": 4,
}


def tiny_eomt_config(**changes):
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 64,
        "num_queries": 5,
        "num_blocks": 2,
        "num_register_tokens": 1,
        "num_labels": 3,
    }
    return EomtConfig(**sizes | changes)


def tiny_eomt(name, **changes):
    encoder = TimmEncoder(name, **changes)
    return eomt.from_encoder(encoder, num_queries=3, num_blocks=1, num_classes=2)


@pytest.mark.slow
@pytest.mark.parametrize(("network", "encoder"), NOT_FITTING)
def test_encoders_that_do_not_fit_raise_a_value_error(build_network, network, encoder):
    message = r"Expected a backbone that fits.* does not: .* - choose one with features"
    with pytest.raises(ValueError, match=message):
        build_network(network, encoder=encoder)


@pytest.mark.slow
@pytest.mark.parametrize(("network", "encoder"), FITTING)
def test_outputs_are_classes_and_masks_at_a_quarter_of_the_images_size(
    build_network, random_images, shapes_of, network, encoder
):
    made = build_network(network, "network.num_queries=7", encoder=encoder, num_classes=4)
    expected = {
        "class_logits": (2, 7, 5),
        "mask_logits": (2, 7, 25, 33),  # 97 / 4 and 131 / 4, rounded up
    }
    images = random_images((97, 131))
    with torch.no_grad():
        assert shapes_of(made.eval()(images)) == expected
    # In training also those before each of the 3 decoder layers of conf/network/mask2former.yaml
    # and the 3 blocks with queries of conf/network/eomt.yaml
    assert shapes_of(made.train()(images)) == expected | {
        "aux_class_logits": (3, 2, 7, 5),
        "aux_mask_logits": (3, 2, 7, 25, 33),
    }


@pytest.mark.slow
@pytest.mark.parametrize(("network", "encoder"), FITTING)
def test_every_weight_gets_a_finite_gradient(
    build_network, random_images, weights_without_gradient, network, encoder
):
    made = build_network(network, "network.num_queries=7", encoder=encoder).train()
    outputs = made(random_images((97, 131)))
    sum(value.square().mean() for value in outputs.values()).backward()
    assert weights_without_gradient(made) == []


@pytest.mark.slow
@pytest.mark.parametrize(("network", "encoder"), ONE_OF_EACH)
def test_an_image_padded_by_the_caller_gives_the_same_outputs(
    build_network, random_images, network, encoder
):
    made = build_network(network, encoder=encoder).eval()
    images = random_images((70, 100))
    with torch.no_grad():
        outputs = made(images)
        padded_outputs = made(F.pad(images, (0, 28, 0, 26)))
    assert torch.equal(outputs["class_logits"], padded_outputs["class_logits"])
    assert torch.equal(outputs["mask_logits"], padded_outputs["mask_logits"][..., :18, :25])


@pytest.mark.slow
def test_a_checkpoint_of_mask2former_keeps_its_masks_and_gets_a_new_class_head(
    tmp_path, random_images
):
    theirs = tiny_mask2former(num_labels=9).eval()
    theirs.save_pretrained(tmp_path)
    ours = mask2former.from_checkpoint(str(tmp_path), num_classes=4).eval()
    images = random_images((64, 96))
    with torch.no_grad():
        outputs = ours(images)
        expected = theirs(pixel_values=ours.normalise(images))
    assert outputs["class_logits"].shape == (2, 6, 5)
    torch.testing.assert_close(outputs["mask_logits"], expected.masks_queries_logits)


def test_mask2former_freezes_stages_of_our_encoder():
    encoder = TimmEncoder("resnet10t", frozen_stages=2)
    made = mask2former.from_encoder(encoder, **SMALL_MASK2FORMER, num_classes=2)
    backbone = made.model.model.pixel_level_module.encoder.encoder.model
    assert not backbone.layer1[0].conv1.weight.requires_grad
    assert backbone.layer2[0].conv1.weight.requires_grad


@pytest.mark.slow
def test_a_checkpoint_of_eomt_gives_the_librarys_outputs(tmp_path, random_images):
    theirs = EomtForUniversalSegmentation(tiny_eomt_config()).eval()
    theirs.save_pretrained(tmp_path)
    ours = eomt.from_checkpoint(str(tmp_path), num_classes=3).eval()
    images = random_images((64, 64))
    with torch.no_grad():
        outputs = ours(images)
        expected = theirs(pixel_values=ours.normalise(images))
    # The library adds 1 to all attention that is not masked; softmax cancels it except for rounding
    tolerance = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(outputs["mask_logits"], expected.masks_queries_logits, **tolerance)
    torch.testing.assert_close(outputs["class_logits"], expected.class_queries_logits, **tolerance)


def test_eomt_without_attention_masks_gives_the_librarys_outputs(random_images):
    theirs = EomtForUniversalSegmentation(tiny_eomt_config()).eval()
    ours = eomt.EoMT(theirs, TimmEncoder("vit_tiny_patch16_224").normalisation())
    ours.mask_probability.zero_()
    images = random_images((64, 64))
    with torch.no_grad():
        outputs = ours.eval()(images)
        expected = theirs(pixel_values=ours.normalise(images))
    torch.testing.assert_close(outputs["mask_logits"], expected.masks_queries_logits)


@pytest.mark.slow
def test_masks_annealed_to_probability_0_have_no_effect(random_images):
    encoder = TimmEncoder("vit_tiny_patch16_224")
    made = eomt.from_encoder(encoder, num_queries=4, num_blocks=2, num_classes=2)
    made.mask_probability.zero_()
    images = random_images((64, 64))
    with torch.no_grad():
        trained = made.train()(images)["mask_logits"]
        evaluated = made.eval()(images)["mask_logits"]
    torch.testing.assert_close(trained, evaluated, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2"],
    ids=["plain", "registers-and-layer-scales"],
)
def test_blocks_before_the_queries_give_the_features_of_the_vit(name, random_images):
    encoder = TimmEncoder(name)
    vit = encoder.create_plain(patch_size=16, image_size=64).eval()
    torch.nn.init.normal_(vit.pos_embed)
    config = eomt_config(vit, name, num_queries=3, num_blocks=1, num_classes=2)
    model = EomtForUniversalSegmentation(config)
    load_vit(model, vit, encoder)
    made = eomt.EoMT(model, encoder.normalisation()).eval()
    side = vit.patch_embed.img_size[0]
    images = made.normalise(random_images((side, side), batch=1))
    second_to_last = len(vit.blocks) - 2
    with torch.no_grad():
        x = made._embed(images, (side // 16, side // 16))  # (1, N, D)
        for layer in model.layers[:-1]:
            x = layer(x, None)
        (expected,) = vit.forward_intermediates(
            images, indices=[second_to_last], intermediates_only=True, norm=False
        )
    ours = x[:, vit.num_prefix_tokens :].transpose(1, 2).reshape(expected.shape)
    # timm multiplies by one matrix for queries, keys and values, and transformers by three
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_vit_without_a_class_token_raises_a_value_error():
    name = "vit_little_patch16_reg4_gap_256"
    with pytest.raises(ValueError, match=f"fits EoMT, but {name} does not: it has no class token"):
        tiny_eomt(name)


@pytest.mark.slow
def test_a_transformer_that_is_not_a_plain_vit_raises_a_value_error():
    message = "vit_small_patch16_dinov3 does not: it is a Eva, not a VisionTransformer"
    with pytest.raises(ValueError, match=message):
        tiny_eomt("vit_small_patch16_dinov3")


@pytest.mark.slow
def test_layer_decay_of_eomt_lowers_learning_rates_towards_the_input():
    made = tiny_eomt("vit_tiny_patch16_224", layer_decay=0.5)
    factor = {id(value): factor for value, _, factor in learned_parameters(made)}
    assert factor[id(made.model.layers[11].norm1.weight)] == 0.5
    assert factor[id(made.model.layers[0].norm1.weight)] == 0.5**12
    assert factor[id(made.model.query.weight)] == 1


@pytest.mark.slow
def test_the_first_frozen_stage_of_eomt_is_its_embeddings():
    made = tiny_eomt("vit_tiny_patch16_224", frozen_stages=1)
    assert not made.model.embeddings.cls_token.requires_grad
    assert made.model.layers[0].norm1.weight.requires_grad


@pytest.mark.parametrize(
    ("network", "encoder", "override", "message"),
    [
        ("mask2former", "resnet10t", "network.width=48", r"network\.width: .*multiple of 32"),
        ("mask2former", "resnet10t", "network.num_heads=5", "multiple of `num_heads`"),
        (
            "mask2former",
            "resnet10t",
            "network.num_queries=0",
            r"network\.num_queries: .*equal to 1",
        ),
        ("eomt", "vit_tiny", "network.num_blocks=0", r"network\.num_blocks: .*equal to 1"),
        ("eomt", "vit_tiny", "network.num_blocks=13", "from 1 to the 12 blocks"),
        ("eomt", "vit_tiny", "network.patch_size=14", r"network\.patch_size: .*8, 16 or 32"),
    ],
)
def test_settings_out_of_range_raise_a_value_error(
    build_network, network, encoder, override, message
):
    with pytest.raises(ValueError, match=message):
        build_network(network, override, encoder=encoder)


@pytest.mark.parametrize(("network", "encoder"), ONE_OF_EACH)
def test_fewer_than_one_class_raises_a_value_error(build_network, network, encoder):
    with pytest.raises(ValueError, match=r"Expected `num_classes`.*got 0"):
        build_network(network, encoder=encoder, num_classes=0)


def test_masks_that_are_not_a_quarter_of_the_image_raise_a_value_error():
    model = EomtForUniversalSegmentation(tiny_eomt_config(patch_size=32))
    normalise = TimmEncoder("resnet10t").normalisation()
    with pytest.raises(ValueError, match="Expected a patch size of 16 px"):
        eomt.EoMT(model, normalise)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
@pytest.mark.parametrize(("network", "encoder"), ONE_OF_EACH)
def test_outputs_are_finite_in_half_precision(
    build_network, random_images, network, encoder, dtype
):
    made = build_network(network, "network.num_queries=7", encoder=encoder).train()
    with torch.no_grad(), torch.autocast("cpu", dtype):
        outputs = made(random_images((64, 96)))
    assert {value.dtype for value in outputs.values()} == {dtype}
    assert all(value.isfinite().all() for value in outputs.values())
