"""Images to outputs: encoder-decoder networks, Panoptic-DeepLab and mask classification."""
