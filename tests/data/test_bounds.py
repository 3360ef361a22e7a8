"""Values out of range are refused when augmentation or data are built from configuration."""

import pytest
from omegaconf import OmegaConf

from maskmill.assembly.build import build

AUGMENTATION = {"_target_": "maskmill.data.transforms.Augmentation", "transforms": []}
DATA = {
    "root": "out/prepare",
    "augmentation": AUGMENTATION,
    "crop_size": [8, 8],
    "batch_size": 1,
    "num_workers": 0,
    "seed": 0,
}

OUT_OF_RANGE = [
    ("copy_paste.CopyPaste", {}, "p", 1.1),
    ("copy_paste.CopyPaste", {}, "max_things", 0),
    ("copy_paste.CopyPaste", {}, "min_visible", -0.1),
    ("mixing.Mosaic", {}, "p", -1),
    ("mixing.Mosaic", {}, "center", [-0.1, 0.5]),
    ("transforms.Augmentation", {"transforms": []}, "min_area_px", -1),
    ("datamodule.SegmentationDataModule", DATA, "batch_size", 0),
    ("datamodule.SegmentationDataModule", DATA, "num_workers", -1),
    ("datamodule.SegmentationDataModule", DATA, "crop_size", [0, 8]),
]


@pytest.mark.parametrize(("target", "others", "argument", "value"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_refused(target, others, argument, value):
    node = {"_target_": f"maskmill.data.{target}", **others, argument: value}
    config = OmegaConf.create({"group": node})
    with pytest.raises(ValueError, match=rf"group\.{argument}: expected .* should be (g|l)"):
        build(config.group, object)
