"""EoMT: a plain ViT whose last blocks process queries too.

Kerssies et al., CVPR 2025 (arXiv:2503.19108). The layers are those of transformers.
"""

from typing import Annotated, Literal

import torch
from annotated_types import Ge
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import EomtConfig, EomtForUniversalSegmentation

from maskmill.networks.architecture import (
    Architecture,
    config_of,
    plain_architecture,
    require_one,
)
from maskmill.networks.encoders import Normalisation, TimmEncoder
from maskmill.networks.outputs import MaskOutputs, check_num_classes
from maskmill.networks.padding import at_any_size
from maskmill.networks.vit_weights import eomt_config, load_vit

MASK_STRIDE = 4
MASKED = -3e4  # added to masked attention scores: far below all others, and half precision has it


class EoMT(nn.Module):
    """A class and a mask per query; masks have a quarter of the image's size.

    Build it with `from_encoder` or `from_checkpoint`. It has its own forward pass, because the
    library's accepts one image size only and does not return the intermediate predictions.

    Args:
        model: of transformers.
        normalise: for its backbone.

    Raises:
        ValueError: upscaling the patches does not give masks at a quarter of the image's size.
    """

    def __init__(self, model: EomtForUniversalSegmentation, normalise: Normalisation) -> None:
        super().__init__()
        self.architecture: Architecture | None = None  # of a checkpoint, to build it again
        config: EomtConfig = model.config
        patch_size = int(config.patch_size)
        expected = MASK_STRIDE * 2**config.num_upscale_blocks
        if patch_size != expected:
            raise ValueError(
                f"Expected a patch size of {expected} px, which {config.num_upscale_blocks} "
                f"upscalings reduce to {MASK_STRIDE} px, but got {patch_size} - "
                "choose a ViT with a patch size of 8, 16 or 32"
            )
        # The loss is maskmill.losses.mask_classification, which ignores void.
        model.criterion = None
        self.model = model
        self.normalise = normalise
        self.stride = max(32, patch_size)
        self._is_masked = [True] * config.num_blocks

    @property
    def mask_probability(self) -> Tensor:
        """Probability (num_blocks,) with which each of the last blocks masks its attention.

        It is saved with the weights. A block with probability 0 needs no intermediate prediction.
        """
        probability: Tensor = self.model.attn_mask_probs
        return probability

    def train(self, mode: bool = True) -> "EoMT":
        """Set training or evaluation mode; evaluation skips masks that were annealed to 0."""
        if mode:
            self._is_masked = [True] * len(self._is_masked)
        else:
            self._is_masked = (self.mask_probability > 0).tolist()
        return super().train(mode)

    def forward(self, images: Tensor) -> MaskOutputs:
        """Class and mask logits of images (B, C, H, W) with values 0..255.

        In training, also those before each block that processes queries.
        """
        return at_any_size(self.body, images, self.stride)

    def body(self, images: Tensor) -> MaskOutputs:
        """Outputs for images whose sides are multiples of `stride`; the part that is exported.

        Args:
            images: (B, C, H, W) with values 0..255.
        """
        patch_size = int(self.model.config.patch_size)
        grid = (images.shape[-2] // patch_size, images.shape[-1] // patch_size)
        layers = list(self.model.layers)
        first_block = len(layers) - len(self._is_masked)
        class_logits: list[Tensor] = []  # before each masked block
        mask_logits: list[Tensor] = []
        x = self._embed(self.normalise(images), grid)  # (B, N, D)
        for layer in layers[:first_block]:
            x = layer(x, None)  # (B, N, D)
        queries = self.model.query.weight.expand(x.shape[0], -1, -1)  # (B, Q, D)
        x = torch.cat([queries, x], dim=1)  # (B, Q + N, D)
        for index, layer in enumerate(layers[first_block:]):
            attention_mask = None
            if self._is_masked[index]:
                block_classes, block_masks = self._predict(x, grid)
                class_logits.append(block_classes)
                mask_logits.append(block_masks)
                attention_mask = self._attention_mask(
                    block_masks.detach(), grid, x.shape[1], self.mask_probability[index]
                )
            x = layer(x, attention_mask)  # (B, Q + N, D)
        last_classes, last_masks = self._predict(x, grid)
        outputs: MaskOutputs = {"class_logits": last_classes, "mask_logits": last_masks}
        if self.training:
            outputs["aux_class_logits"] = torch.stack(class_logits)  # (num_blocks, B, Q, K + 1)
            outputs["aux_mask_logits"] = torch.stack(mask_logits)  # (num_blocks, B, Q, H/4, W/4)
        return outputs

    def _embed(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """Class token, register tokens and patches, with positions resampled to the image's grid.

        Returns:
            (B, N, D), where N counts all tokens.
        """
        embeddings = self.model.embeddings
        weight = embeddings.position_embeddings.weight  # (side * side, D)
        side = round(embeddings.position_embeddings.num_embeddings**0.5)
        positions = weight.T.reshape(1, -1, side, side)  # (1, D, side, side)
        positions = F.interpolate(positions, size=grid, mode="bicubic", align_corners=False)
        patches = embeddings.patch_embeddings.projection(images) + positions  # (B, D, H/16, W/16)
        patches = patches.flatten(2).transpose(1, 2)  # (B, H/16 * W/16, D)
        prefix = torch.cat([embeddings.cls_token, embeddings.register_tokens], dim=1)
        prefix = prefix.expand(images.shape[0], -1, -1)  # (B, 1 + registers, D)
        return torch.cat([prefix, patches], dim=1)  # (B, N, D)

    def _predict(self, x: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Class logits (B, Q, K + 1) and mask logits (B, Q, H/4, W/4) of tokens (B, Q + N, D)."""
        num_queries = self.model.config.num_queries
        first_patch = num_queries + self.model.embeddings.num_prefix_tokens
        x = self.model.layernorm(x)
        queries = x[:, :num_queries]  # (B, Q, D)
        patches = x[:, first_patch:].transpose(1, 2).unflatten(2, grid)  # (B, D, H/16, W/16)
        pixels = self.model.upscale_block(patches)  # (B, D, H/4, W/4)
        class_logits = self.model.class_predictor(queries)  # (B, Q, K + 1)
        mask_embed = self.model.mask_head(queries)  # (B, Q, D)
        mask_logits = torch.einsum("bqd,bdhw->bqhw", mask_embed, pixels)  # (B, Q, H/4, W/4)
        return class_logits, mask_logits

    def _attention_mask(
        self, mask_logits: Tensor, grid: tuple[int, int], num_tokens: int, probability: Tensor
    ) -> Tensor:
        """Values that are added to the attention scores, 0 or `MASKED`.

        A query attends only to the patches inside its mask, but in training only with the given
        probability. All other tokens, and all attention to tokens that are not patches, stay
        unmasked.

        Args:
            mask_logits: (B, Q, H/4, W/4).
            grid: rows and columns of patches.
            num_tokens: Q + N.
            probability: scalar in 0..1.

        Returns:
            (B, 1, Q + N, Q + N).
        """
        num_images, num_queries = mask_logits.shape[:2]
        mask_logits = F.interpolate(mask_logits, size=grid, mode="bilinear", align_corners=False)
        visible = mask_logits.flatten(2) > 0  # (B, Q, H/16 * W/16)
        if self.training:
            draw = torch.rand(num_images, num_queries, 1, device=visible.device)
            visible = visible | (draw > probability)
        left = num_tokens - visible.shape[2]
        bottom = num_tokens - num_queries
        visible = F.pad(visible, (left, 0, 0, bottom), value=True)  # (B, Q + N, Q + N)
        scores = torch.zeros(visible.shape, dtype=mask_logits.dtype, device=visible.device)
        return scores.masked_fill(~visible, MASKED).unsqueeze(1)  # (B, 1, Q + N, Q + N)


def from_encoder(
    encoder: TimmEncoder,
    *,
    num_queries: Annotated[int, Ge(1)],
    num_blocks: Annotated[int, Ge(1)] = 4,
    patch_size: Literal[8, 16, 32] = 16,
    image_size: Annotated[int, Ge(1)] | None = None,
    num_classes: int,
) -> EoMT:
    """EoMT with a plain ViT of timm and its weights; queries and heads are random.

    Args:
        encoder: a plain ViT (timm's class `VisionTransformer`), such as vit_tiny_patch16_224 or
            vit_large_patch14_reg4_dinov2.
        num_queries: Q, the largest number of segments in an image; 200 in the paper.
        num_blocks: number of last blocks that process queries; 4 in the paper for 24 blocks.
        patch_size: in px; doubling a patch grid of 8, 16 or 32 px ends at a quarter of the image.
            Weights of another patch size are resampled, as in the paper for DINOv2 (14 px).
        image_size: side in px for which position embeddings are stored; None uses the ViT's. For
            other sizes they are interpolated.
        num_classes: K.

    Raises:
        ValueError: the backbone is not a plain ViT, has fewer than `num_blocks` blocks, or
            `num_classes` is less than 1.

    Example:
        >>> import torch
        >>> encoder = TimmEncoder("vit_tiny_patch16_224")
        >>> network = from_encoder(encoder, num_queries=6, num_classes=5).eval()
        >>> outputs = network(torch.zeros(1, 3, 64, 96, dtype=torch.uint8))
        >>> {name: tuple(output.shape) for name, output in outputs.items()}
        {'class_logits': (1, 6, 6), 'mask_logits': (1, 6, 16, 24)}
    """
    check_num_classes(num_classes)
    vit = encoder.create_plain(patch_size=patch_size, image_size=image_size)
    config = eomt_config(
        vit, encoder.name, num_queries=num_queries, num_blocks=num_blocks, num_classes=num_classes
    )
    model = EomtForUniversalSegmentation(config)
    load_vit(model, vit, encoder)
    return EoMT(model, encoder.normalisation())


def from_checkpoint(
    checkpoint: str | None = None,
    *,
    architecture: Architecture | None = None,
    num_classes: int,
) -> EoMT:
    """A trained EoMT with a new class head.

    Args:
        checkpoint: a folder that transformers saved, or a name on its hub, such as
            tue-mps/coco_panoptic_eomt_large_640.
        architecture: used instead, with random weights: `network.architecture` of an earlier call.
        num_classes: K.

    Raises:
        ValueError: neither or both are set, or the architecture has an unknown backbone.
    """
    require_one(checkpoint, architecture)
    if architecture is not None:
        model = EomtForUniversalSegmentation(config_of(EomtConfig, architecture, num_classes))
    else:
        model = EomtForUniversalSegmentation.from_pretrained(
            checkpoint, num_labels=num_classes, ignore_mismatched_sizes=True
        )
    network = EoMT(model, Normalisation(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    network.architecture = plain_architecture(model.config)
    return network
