"""maskmill: labelled images in, a registered and served segmentation model out."""

__version__ = "0.1.0"
