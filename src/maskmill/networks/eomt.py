"""EoMT: a plain ViT whose last blocks carry queries (Kerssies et al., CVPR 2025, arXiv:2503.19108), from the parts transformers has."""

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import EomtConfig, EomtForUniversalSegmentation

from maskmill.networks.encoders import Normalisation, TimmEncoder
from maskmill.networks.padding import Outputs, at_any_size
from maskmill.networks.vit_weights import eomt_config, load_vit

MASK_STRIDE = 4
FAR = -1e9  # what the library adds where attention is masked


class EoMT(nn.Module):
    """A class and a mask per query, masks at a quarter of the size; build it with `from_encoder` or `from_checkpoint`.

    The library's layers with a forward pass of our own: its own takes one image size only and hands out no intermediate predictions.

    Args:
        model: of transformers.
        normalise: for its backbone.

    Raises:
        ValueError: patch size and upscaling do not end at a quarter of the image.
    """

    def __init__(self, model: EomtForUniversalSegmentation, normalise: Normalisation) -> None:
        super().__init__()
        config: EomtConfig = model.config
        patch = int(config.patch_size)
        if patch != MASK_STRIDE * 2**config.num_upscale_blocks:
            raise ValueError(
                f"Expected a patch size of {MASK_STRIDE * 2**config.num_upscale_blocks} px, which {config.num_upscale_blocks} upscalings "
                f"bring to a quarter of the image, but got {patch} - choose a ViT of patch 8, 16 or 32"
            )
        model.criterion = None  # the loss is maskmill.losses.mask_classification, which knows void
        self.model, self.normalise, self.stride = model, normalise, max(32, patch)
        self._is_masked = [True] * config.num_blocks

    @property
    def mask_probability(self) -> Tensor:
        """How often each of the last blocks masks its attention, (blocks,) in 0..1, saved with the weights; at 0 it needs no prediction."""
        probability: Tensor = self.model.attn_mask_probs
        return probability

    def train(self, mode: bool = True) -> "EoMT":
        """As every module; evaluation leaves out the masks that training has annealed away."""
        self._is_masked = (
            [True] * len(self._is_masked) if mode else (self.mask_probability > 0).tolist()
        )
        return super().train(mode)

    def forward(self, images: Tensor) -> Outputs:
        """Images (B, C, H, W), 0..255, to `class_logits` (B, Q, K + 1), the last for no object, and `mask_logits` (B, Q, H/4, W/4).

        In training also those before each of the L last blocks: `aux_class_logits` (L, B, Q, K + 1) and `aux_mask_logits`
        (L, B, Q, H/4, W/4).
        """
        return at_any_size(self.body, images, self.stride)

    def body(self, images: Tensor) -> Outputs:
        """The same for H and W that are multiples of `stride`; this is what gets exported."""
        patch = int(self.model.config.patch_size)
        grid = (images.shape[-2] // patch, images.shape[-1] // patch)
        x = self._embed(self.normalise(images), grid)  # (B, T, D)
        first = len(self.model.layers) - len(self._is_masked)
        between: list[tuple[Tensor, Tensor]] = []
        for place, layer in enumerate(self.model.layers):
            mask = None
            if place == first:
                x = torch.cat(
                    [self.model.query.weight.expand(x.shape[0], -1, -1), x], dim=1
                )  # (B, Q + T, D)
            if place >= first and self._is_masked[place - first]:
                between.append(self._predict(x, grid))
                mask = self._attention_mask(
                    between[-1][1].detach(), grid, x.shape[1], self.mask_probability[place - first]
                )
            x = layer(x, mask)
        class_logits, mask_logits = self._predict(x, grid)
        outputs = {"class_logits": class_logits, "mask_logits": mask_logits}
        if self.training:
            outputs["aux_class_logits"] = torch.stack([classes for classes, _ in between])
            outputs["aux_mask_logits"] = torch.stack([masks for _, masks in between])
        return outputs

    def _embed(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """Class and register tokens, then patches with positions resampled to this image: (B, T, D)."""
        parts = self.model.embeddings
        side = round(parts.position_embeddings.num_embeddings**0.5)
        positions = parts.position_embeddings.weight.T.reshape(1, -1, side, side)  # (1, D, S, S)
        positions = F.interpolate(positions, size=grid, mode="bicubic", align_corners=False)
        patches = parts.patch_embeddings.projection(images) + positions  # (B, D, H/16, W/16)
        prefix = torch.cat([parts.cls_token, parts.register_tokens], dim=1).expand(
            images.shape[0], -1, -1
        )
        return torch.cat([prefix, patches.flatten(2).transpose(1, 2)], dim=1)

    def _predict(self, x: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Tokens (B, Q + T, D) to class logits (B, Q, K + 1) and mask logits (B, Q, H/4, W/4)."""
        x = self.model.layernorm(x)
        num_queries = self.model.config.num_queries
        queries, patches = (
            x[:, :num_queries],
            x[:, num_queries + self.model.embeddings.num_prefix_tokens :],
        )
        pixels = self.model.upscale_block(
            patches.transpose(1, 2).unflatten(2, grid)
        )  # (B, D, H/4, W/4)
        return self.model.class_predictor(queries), torch.einsum(
            "bqd,bdhw->bqhw", self.model.mask_head(queries), pixels
        )

    def _attention_mask(
        self, mask_logits: Tensor, grid: tuple[int, int], num_tokens: int, probability: Tensor
    ) -> Tensor:
        """What is added to the attention (B, 1, Q + T, Q + T): queries see the patches of their masks only, in a share of all cases."""
        batch, num_queries = mask_logits.shape[:2]
        seen = (
            F.interpolate(mask_logits, size=grid, mode="bilinear", align_corners=False).flatten(2)
            > 0
        )  # (B, Q, P)
        if self.training:
            seen = seen | (torch.rand(batch, num_queries, 1, device=seen.device) > probability)
        seen = F.pad(
            seen, (num_tokens - seen.shape[2], 0, 0, num_tokens - num_queries), value=True
        )  # all see queries, prefix and the rest
        return (
            torch.zeros(seen.shape, dtype=mask_logits.dtype, device=seen.device)
            .masked_fill(~seen, FAR)
            .unsqueeze(1)
        )


def from_encoder(
    encoder: TimmEncoder,
    *,
    num_queries: int,
    num_blocks: int = 4,
    patch_size: int = 16,
    image_size: int | None = None,
    num_classes: int,
) -> EoMT:
    """EoMT over a plain ViT of timm, which brings its weights; queries and heads begin at random.

    Args:
        encoder: a plain ViT (class `VisionTransformer` of timm), as vit_tiny_patch16_224 or vit_large_patch14_reg4_dinov2.
        num_queries: Q, most segments in an image; 200 in the paper.
        num_blocks: of the last blocks that carry queries; 4 in the paper for 24 blocks.
        patch_size: 8, 16 or 32 px; the weights of a ViT of another patch are resampled, as the paper does with DINOv2's 14.
        image_size: side in px for which position embeddings are kept; others are interpolated. None is that of the ViT.
        num_classes: K.

    Raises:
        ValueError: the backbone is no plain ViT, or a number is out of range.
    """
    if num_classes < 1:
        raise ValueError(
            f"Expected `num_classes` of at least 1, but got {num_classes} - pass categories.num_outputs"
        )
    if patch_size not in {8, 16, 32}:  # doublings end at a quarter of the image
        raise ValueError(
            f"Expected `patch_size` of 8, 16 or 32 px, but got {patch_size} - mend network.patch_size"
        )
    vit = encoder.create_plain(patch_size=patch_size, image_size=image_size)
    config = eomt_config(
        vit, encoder.name, num_queries=num_queries, num_blocks=num_blocks, num_classes=num_classes
    )
    model = EomtForUniversalSegmentation(config)
    load_vit(model, vit, encoder)
    return EoMT(model, encoder.normalisation())


def from_checkpoint(checkpoint: str, *, num_classes: int) -> EoMT:
    """EoMT as someone trained it, with a new class head.

    Args:
        checkpoint: a folder that transformers saved, or a name on its hub, as tue-mps/coco_panoptic_eomt_large_640.
        num_classes: K.
    """
    model = EomtForUniversalSegmentation.from_pretrained(
        checkpoint, num_labels=num_classes, ignore_mismatched_sizes=True
    )
    return EoMT(model, Normalisation(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
