"""LightningModules: semantic, instance, panoptic."""
