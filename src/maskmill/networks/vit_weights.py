"""A plain ViT of timm as the encoder of EoMT: the same numbers under the names transformers has for them."""

import torch
from timm.models import VisionTransformer
from torch import Tensor
from transformers import EomtConfig, EomtForUniversalSegmentation

from maskmill.networks.encoders import TimmEncoder
from maskmill.networks.layers import keep_learning

NAMES = {
    "norm1": "norm1",
    "norm2": "norm2",
    "attn.proj": "attention.out_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def eomt_config(
    vit: VisionTransformer, name: str, *, num_queries: int, num_blocks: int, num_classes: int
) -> EomtConfig:
    """The library's description of an EoMT as large as a ViT.

    Args:
        vit: of timm.
        name: of it, for messages.
        num_queries: Q.
        num_blocks: of the last blocks that carry queries.
        num_classes: K.

    Raises:
        ValueError: a number is out of range, or EoMT has no such ViT.
    """
    depth, patch = len(vit.blocks), int(vit.patch_embed.patch_size[0])
    if not (num_queries >= 1 and 1 <= num_blocks <= depth):
        raise ValueError(
            f"Expected at least one query and `num_blocks` from 1 to the {depth} blocks of {name}, "
            f"but got {num_queries} and {num_blocks} - mend conf/network"
        )
    if vit.patch_embed.grid_size[0] != vit.patch_embed.grid_size[1]:
        raise ValueError(
            f"Expected a ViT of square images, but {name} has a grid of {vit.patch_embed.grid_size} - set network.image_size"
        )
    return EomtConfig(
        hidden_size=vit.embed_dim,
        num_hidden_layers=depth,
        num_attention_heads=vit.blocks[0].attn.num_heads,
        mlp_ratio=vit.blocks[0].mlp.fc1.out_features // vit.embed_dim,
        image_size=patch * vit.patch_embed.grid_size[0],
        patch_size=patch,
        num_channels=vit.patch_embed.proj.in_channels,
        num_register_tokens=vit.num_reg_tokens,
        num_upscale_blocks=patch.bit_length() - 3,  # 8, 16, 32 px to 4
        num_blocks=num_blocks,
        num_queries=num_queries,
        num_labels=num_classes,
    )


def load_vit(
    model: EomtForUniversalSegmentation, vit: VisionTransformer, encoder: TimmEncoder
) -> None:
    """Give the model the ViT's weights, and the way its layers learn.

    Args:
        model: as large as the ViT.
        vit: of timm.
        encoder: what made it.

    Raises:
        ValueError: the ViT has parts that EoMT lacks, as gated or normalised attention.
    """
    with encoder.explained("EoMT"):
        if vit.cls_token is None:
            raise ValueError("it has no class token")
        named = _translate(vit)
        missing = model.load_state_dict(named, strict=False)
        own = (
            "query.",
            "upscale_block.",
            "mask_head.",
            "class_predictor.",
            "attn_mask_probs",
            "criterion.",
        )
        if left := [
            *missing.unexpected_keys,
            *(
                key
                for key in missing.missing_keys
                if not key.startswith(own) and "layer_scale" not in key
            ),
        ]:
            raise ValueError(f"it has other parts than a plain ViT, such as {left[:3]}")
    keep_learning(model, _stages(model), encoder.learning)


def _translate(vit: VisionTransformer) -> dict[str, Tensor]:
    state = dict(vit.state_dict())
    class_token = state.pop("cls_token")
    positions = state.pop("pos_embed")[0]  # (prefix + N, D)
    if not vit.no_embed_class:
        class_token = class_token + positions[:1]
        positions = positions[vit.num_prefix_tokens :]
    named = {
        "embeddings.cls_token": class_token,
        "embeddings.register_tokens": state.pop("reg_token", torch.zeros(1, 0, vit.embed_dim)),
        "embeddings.position_embeddings.weight": positions,
    }
    for key, value in state.items():
        place, _, part = key.partition(".")
        if place != "blocks":
            renamed = {
                "patch_embed.proj": "embeddings.patch_embeddings.projection",
                "norm": "layernorm",
            }
            module, _, kind = key.rpartition(".")
            named[f"{renamed.get(module, module)}.{kind}"] = value
            continue
        number, _, part = part.partition(".")
        module, _, kind = part.rpartition(".")
        if module == "attn.qkv":
            named |= {
                f"layers.{number}.attention.{x}_proj.{kind}": third
                for x, third in zip("qkv", value.chunk(3), strict=True)
            }
        elif kind == "gamma":  # of a layer scale
            named[f"layers.{number}.layer_scale{module[-1]}.lambda1"] = value
        else:
            named[f"layers.{number}.{NAMES.get(module, module)}.{kind}"] = value
    return named


def _stages(model: EomtForUniversalSegmentation) -> dict[str, int]:
    """The ViT's parameters: 0 what embeds, then its blocks from 1, the last norm with the last block."""
    stages = {}
    for name, _ in model.named_parameters():
        part, _, rest = name.partition(".")
        if part == "embeddings":
            stages[name] = 0
        elif part == "layers":
            stages[name] = int(rest.split(".")[0]) + 1
        elif part == "layernorm":
            stages[name] = len(model.layers)
    return stages
