import pytest
import torch
from torch.nn import functional as F
from transformers import (
    EomtConfig,
    EomtForUniversalSegmentation,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    SwinConfig,
)

from maskmill.networks import eomt, mask2former
from maskmill.networks.encoders import TimmEncoder

SMALL = {"width": 32, "num_queries": 6, "pixel_layers": 1, "decoder_layers": 2, "num_heads": 4}


def images(size, batch=2):
    return torch.randint(
        0, 256, (batch, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def tiny_eomt_config(**changes):
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 64,
        "num_queries": 5,
        "num_blocks": 2,
    }
    return EomtConfig(**sizes | {"num_register_tokens": 1, "num_labels": 3} | changes)


def shapes(outputs):
    return {name: tuple(value.shape) for name, value in outputs.items()}


@pytest.mark.parametrize("network", ["mask2former", "eomt"])
@pytest.mark.parametrize("encoder", ["resnet10t", "pvt_v2_b0", "vit_tiny"])
def test_queries_give_classes_and_masks_at_a_quarter_of_any_size_and_every_weight_learns(
    shipped, network, encoder
):
    if (network == "eomt") != (encoder == "vit_tiny"):
        with pytest.raises(
            Exception,
            match=r"Expected a backbone that fits.* does not: .* - choose one with features",
        ):
            shipped(network, f"encoder={encoder}")
        return
    made = shipped(network, f"encoder={encoder}", "network.num_queries=7", num_classes=4)
    outputs = made.train()(images((97, 131)))
    layers = 3  # decoder layers of mask2former.yaml before the last prediction, blocks with queries of eomt.yaml
    assert shapes(outputs) == {
        "class_logits": (2, 7, 5),
        "mask_logits": (2, 7, 25, 33),  # 97 / 4 and 131 / 4, rounded up
        "aux_class_logits": (layers, 2, 7, 5),
        "aux_mask_logits": (layers, 2, 7, 25, 33),
    }
    sum(value.square().mean() for value in outputs.values()).backward()
    gradients = {name: value.grad for name, value in made.named_parameters()}
    assert [
        name for name, value in gradients.items() if value is None or not value.isfinite().all()
    ] == []
    with torch.no_grad():
        assert shapes(made.eval()(images((97, 131)))) == {
            "class_logits": (2, 7, 5),
            "mask_logits": (2, 7, 25, 33),
        }


@pytest.mark.parametrize(
    ("network", "encoder"), [("mask2former", "resnet10t"), ("eomt", "vit_tiny")]
)
def test_an_image_padded_by_hand_gives_the_same(shipped, network, encoder):
    made = shipped(network, f"encoder={encoder}").eval()
    padded = F.pad(images((70, 100)), (0, 28, 0, 26))
    with torch.no_grad():
        ours, by_hand = made(images((70, 100))), made(padded)
    assert torch.equal(ours["class_logits"], by_hand["class_logits"])
    assert torch.equal(ours["mask_logits"], by_hand["mask_logits"][..., :18, :25])


def test_mask2former_of_the_library_is_loaded_with_a_new_class_head_and_gives_what_the_library_gives(
    tmp_path,
):
    swin = SwinConfig(
        embed_dim=24,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        out_features=[f"stage{n}" for n in range(1, 5)],
    )
    sizes = {
        "feature_size": 32,
        "mask_feature_size": 32,
        "hidden_dim": 32,
        "encoder_layers": 1,
        "decoder_layers": 3,
        "num_queries": 6,
    }
    theirs = Mask2FormerForUniversalSegmentation(
        Mask2FormerConfig(backbone_config=swin, **sizes, num_labels=9)
    ).eval()
    theirs.save_pretrained(tmp_path)
    ours = mask2former.from_checkpoint(str(tmp_path), num_classes=4).eval()
    with torch.no_grad():
        outputs = ours(images((64, 96)))
        expected = theirs(pixel_values=ours.normalise(images((64, 96))))
    assert outputs["class_logits"].shape == (2, 6, 5)
    torch.testing.assert_close(outputs["mask_logits"], expected.masks_queries_logits)


def test_the_encoder_of_mask2former_is_ours_with_its_freezing():
    made = mask2former.from_encoder(
        TimmEncoder("resnet10t", frozen_stages=2), **SMALL, num_classes=2
    )
    backbone = made.model.model.pixel_level_module.encoder.encoder.model
    assert not backbone.layer1[0].conv1.weight.requires_grad
    assert backbone.layer2[0].conv1.weight.requires_grad


def test_eomt_of_the_library_is_loaded_with_a_new_class_head_and_gives_what_the_library_gives(
    tmp_path,
):
    theirs = EomtForUniversalSegmentation(tiny_eomt_config()).eval()
    theirs.save_pretrained(tmp_path)
    ours = eomt.from_checkpoint(str(tmp_path), num_classes=3).eval()
    with torch.no_grad():
        outputs, expected = (
            ours(images((64, 64))),
            theirs(pixel_values=ours.normalise(images((64, 64)))),
        )
    # 1e-4: the library adds 1 to every allowed attention, which softmax takes out again but for rounding
    torch.testing.assert_close(
        outputs["mask_logits"], expected.masks_queries_logits, rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(
        outputs["class_logits"], expected.class_queries_logits, rtol=1e-4, atol=1e-4
    )


def test_without_masks_eomt_gives_what_the_library_gives_without_masks():
    theirs = EomtForUniversalSegmentation(tiny_eomt_config()).eval()
    ours = eomt.EoMT(theirs, TimmEncoder("vit_tiny_patch16_224").normalisation())
    ours.mask_probability.zero_()
    with torch.no_grad():
        outputs, expected = (
            ours.eval()(images((64, 64))),
            theirs(pixel_values=ours.normalise(images((64, 64)))),
        )
    torch.testing.assert_close(outputs["mask_logits"], expected.masks_queries_logits)


def test_masks_that_were_annealed_away_leave_the_same_predictions_for_every_draw():
    ours = eomt.from_encoder(
        TimmEncoder("vit_tiny_patch16_224"), num_queries=4, num_blocks=2, num_classes=2
    )
    ours.mask_probability.zero_()
    with torch.no_grad():
        trained, evaluated = ours.train()(images((64, 64))), ours.eval()(images((64, 64)))
    torch.testing.assert_close(
        trained["mask_logits"], evaluated["mask_logits"], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2"]
)  # the second has registers and layer scales
def test_the_blocks_before_the_queries_are_those_of_the_vit(name):
    encoder = TimmEncoder(name)
    vit = encoder.create_plain(patch_size=16, image_size=64).eval()
    torch.nn.init.normal_(vit.pos_embed)
    model = EomtForUniversalSegmentation(
        eomt.eomt_config(vit, name, num_queries=3, num_blocks=1, num_classes=2)
    )
    eomt.load_vit(model, vit, encoder)
    made = eomt.EoMT(model, encoder.normalisation()).eval()
    side = vit.patch_embed.img_size[0]
    pixels = made.normalise(images((side, side), batch=1))
    with torch.no_grad():
        x = made._embed(pixels, (side // 16, side // 16))
        for layer in model.layers[:-1]:
            x = layer(x, None)
        expected = vit.forward_intermediates(
            pixels, indices=[len(vit.blocks) - 2], intermediates_only=True, norm=False
        )[0]
    ours = x[:, vit.num_prefix_tokens :].transpose(1, 2).reshape(expected.shape)
    torch.testing.assert_close(
        ours, expected, rtol=1e-4, atol=1e-4
    )  # queries, keys and values are one product there and three here


def test_vits_of_other_parts_are_refused():
    with pytest.raises(
        ValueError,
        match="fits EoMT, but vit_little_patch16_reg4_gap_256 does not: it has no class token",
    ):
        eomt.from_encoder(
            TimmEncoder("vit_little_patch16_reg4_gap_256"),
            num_queries=3,
            num_blocks=1,
            num_classes=2,
        )
    with pytest.raises(
        ValueError, match="vit_small_patch16_dinov3 does not: it is a Eva, no VisionTransformer"
    ):
        eomt.from_encoder(
            TimmEncoder("vit_small_patch16_dinov3"), num_queries=3, num_blocks=1, num_classes=2
        )


def test_layers_of_eomt_slow_down_towards_the_input_and_freeze_from_it():
    from maskmill.networks.layers import learned_parameters

    made = eomt.from_encoder(
        TimmEncoder("vit_tiny_patch16_224", layer_decay=0.5, frozen_stages=1),
        num_queries=3,
        num_blocks=1,
        num_classes=2,
    )
    assert not made.model.embeddings.cls_token.requires_grad
    scale = {id(value): scale for value, _, scale in learned_parameters(made)}
    assert scale[id(made.model.layers[11].norm1.weight)] == 0.5
    assert scale[id(made.model.layers[0].norm1.weight)] == 0.5**12
    assert scale[id(made.model.query.weight)] == 1


@pytest.mark.parametrize(
    ("network", "override", "message"),
    [
        ("mask2former", "network.width=48", "multiple of 32"),
        ("mask2former", "network.num_queries=0", "at least one query"),
        ("eomt", "network.num_blocks=13", "1 to the 12 blocks"),
        ("eomt", "network.patch_size=14", "8, 16 or 32 px"),
    ],
)
def test_wrong_settings_are_refused(shipped, network, override, message):
    with pytest.raises(Exception, match=message):
        shipped(network, "encoder=vit_tiny" if network == "eomt" else "encoder=resnet10t", override)


@pytest.mark.parametrize(
    ("network", "encoder"), [("mask2former", "resnet10t"), ("eomt", "vit_tiny")]
)
def test_a_network_without_classes_is_refused(shipped, network, encoder):
    with pytest.raises(Exception, match=r"Expected `num_classes`.*got"):
        shipped(network, f"encoder={encoder}", num_classes=0)


def test_a_patch_that_does_not_end_at_a_quarter_is_refused():
    with pytest.raises(ValueError, match="Expected a patch size of 16 px"):
        eomt.EoMT(
            EomtForUniversalSegmentation(tiny_eomt_config(patch_size=32)),
            TimmEncoder("resnet10t").normalisation(),
        )
