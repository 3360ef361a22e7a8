"""Images to outputs: encoder-decoders and Panoptic-DeepLab."""
