"""The data format that all stages share: categories, segments, COCO panoptic PNG + JSON."""
