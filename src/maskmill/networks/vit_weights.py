"""A plain ViT of timm as the encoder of EoMT: its weights under the names of transformers."""

import torch
from timm.models import VisionTransformer
from torch import Tensor
from transformers import EomtConfig, EomtForUniversalSegmentation

from maskmill.networks.encoders import TimmEncoder
from maskmill.networks.layers import set_fine_tuning_of_stages

# Modules in timm and in transformers, outside the blocks and in a block
OUTSIDE_BLOCKS = {
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
}
BLOCK = {
    "norm1": "norm1",
    "norm2": "norm2",
    "attn.proj": "attention.out_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
# Prefixes of parameters that EoMT adds to a ViT
ADDED = (
    "query.",
    "upscale_block.",
    "mask_head.",
    "class_predictor.",
    "attn_mask_probs",
    "criterion.",
)


def eomt_config(
    vit: VisionTransformer, name: str, *, num_queries: int, num_blocks: int, num_classes: int
) -> EomtConfig:
    """The library's configuration of an EoMT with the size of a ViT.

    Args:
        vit: of timm.
        name: of the ViT, for messages.
        num_queries: Q.
        num_blocks: number of last blocks that process queries.
        num_classes: K.

    Raises:
        ValueError: the ViT has fewer than `num_blocks` blocks, or its images are not square.
    """
    depth = len(vit.blocks)
    block = vit.blocks[0]
    patch_size = int(vit.patch_embed.patch_size[0])
    grid = vit.patch_embed.grid_size
    if num_blocks > depth:
        raise ValueError(
            f"Expected `num_blocks` from 1 to the {depth} blocks of {name}, "
            f"but got {num_blocks} - lower network.num_blocks"
        )
    if grid[0] != grid[1]:
        raise ValueError(
            f"Expected a ViT for square images, but {name} has a grid of {grid} - "
            "set network.image_size"
        )
    return EomtConfig(
        hidden_size=vit.embed_dim,
        num_hidden_layers=depth,
        num_attention_heads=block.attn.num_heads,
        mlp_ratio=block.mlp.fc1.out_features // vit.embed_dim,
        image_size=patch_size * grid[0],
        patch_size=patch_size,
        num_channels=vit.patch_embed.proj.in_channels,
        num_register_tokens=vit.num_reg_tokens,
        num_upscale_blocks=patch_size.bit_length() - 3,  # from 8, 16 or 32 px to 4
        num_blocks=num_blocks,
        num_queries=num_queries,
        num_labels=num_classes,
    )


def load_vit(
    model: EomtForUniversalSegmentation, vit: VisionTransformer, encoder: TimmEncoder
) -> None:
    """Copy a ViT's weights into an EoMT, and freeze its layers as the encoder is configured.

    Args:
        model: with the size of the ViT, changed in place.
        vit: of timm.
        encoder: from which the ViT was created.

    Raises:
        ValueError: the ViT has parts that EoMT does not have, such as gated attention.
    """
    with encoder.explain_misfit("EoMT"):
        if vit.cls_token is None:
            raise ValueError("it has no class token")
        result = model.load_state_dict(_rename_to_transformers(vit), strict=False)
        misfits = list(result.unexpected_keys)
        for key in result.missing_keys:
            is_optional = key.startswith(ADDED) or "layer_scale" in key
            if not is_optional:
                misfits.append(key)
        if misfits:
            raise ValueError(f"it has other parts than a plain ViT, such as {misfits[:3]}")
    set_fine_tuning_of_stages(model, _stages(model), encoder.fine_tuning)


def _rename_to_transformers(vit: VisionTransformer) -> dict[str, Tensor]:
    state = dict(vit.state_dict())
    class_token = state.pop("cls_token")  # (1, 1, D)
    positions = state.pop("pos_embed")[0]  # (N, D), with or without the prefix tokens
    if not vit.no_embed_class:
        class_token = class_token + positions[:1]
        positions = positions[vit.num_prefix_tokens :]  # (N, D), of patches only
    registers = state.pop("reg_token", torch.zeros(1, 0, vit.embed_dim))
    renamed = {
        "embeddings.cls_token": class_token,
        "embeddings.register_tokens": registers,
        "embeddings.position_embeddings.weight": positions,
    }
    for key, value in state.items():
        if key.startswith("blocks."):
            renamed |= _rename_in_block(key, value)
        else:
            module, _, kind = key.rpartition(".")
            renamed[f"{OUTSIDE_BLOCKS.get(module, module)}.{kind}"] = value
    return renamed


def _rename_in_block(key: str, value: Tensor) -> dict[str, Tensor]:
    """A parameter of a block, such as blocks.3.mlp.fc1.weight; timm stores q, k and v in one."""
    _, index, name = key.split(".", maxsplit=2)
    module, _, kind = name.rpartition(".")
    prefix = f"layers.{index}"
    if module == "attn.qkv":
        query, key_part, value_part = value.chunk(3)
        return {
            f"{prefix}.attention.q_proj.{kind}": query,
            f"{prefix}.attention.k_proj.{kind}": key_part,
            f"{prefix}.attention.v_proj.{kind}": value_part,
        }
    if kind == "gamma":  # of a layer scale, ls1 or ls2
        return {f"{prefix}.layer_scale{module[-1]}.lambda1": value}
    return {f"{prefix}.{BLOCK.get(module, module)}.{kind}": value}


def _stages(model: EomtForUniversalSegmentation) -> dict[str, int]:
    """Parameter name of the ViT -> stage: 0 for embeddings, then one per block.

    The last norm belongs to the last block.
    """
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
