"""A Mask2Former of transformers, with random weights and as small as its parts allow."""

from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

STAGES = ["stage1", "stage2", "stage3", "stage4"]


def tiny_mask2former(**values):
    """The network; `values` are further ones of its configuration."""
    swin = SwinConfig(
        embed_dim=24, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], out_features=STAGES
    )
    config = Mask2FormerConfig(
        backbone_config=swin,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_layers=1,
        decoder_layers=3,
        num_queries=6,
        **values,
    )
    return Mask2FormerForUniversalSegmentation(config)
