"""The one format everything speaks: categories, segments, COCO panoptic PNG + JSON."""
