"""The YAML files of docs/coming_from/ read the layouts of other tools."""

import re
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from maskmill.assembly.build import build
from maskmill.canonical.png import write_labels, write_rgb
from maskmill.sources.finding import Findings
from maskmill.sources.source import Source

PAGES = Path(__file__).parents[2] / "docs" / "coming_from"
NUMBERS = range(8)
LAYOUTS = {  # image -> labels
    "mmsegmentation": {
        f"data/my_dataset/img_dir/{split}/{n}.png": f"data/my_dataset/ann_dir/{split}/{n}.png"
        for split in ("train", "val")
        for n in NUMBERS
    },
    "nnunet": {
        f"Dataset001_NAME/imagesTr/case_{n}_0000.png": f"Dataset001_NAME/labelsTr/case_{n}.png"
        for n in NUMBERS
    },
}


@pytest.mark.parametrize("page", LAYOUTS)
def test_the_layout_of_another_tool_is_read(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for image, labels in LAYOUTS[page].items():
        for path in (image, labels):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_rgb(Path(image), np.full((4, 6, 3), 90, np.uint8))
        write_labels(Path(labels), np.array([[0, 0, 0, 1, 1, 1]] * 4, np.uint8))
    (block,) = re.findall(r"```yaml\n(.*?)```", (PAGES / f"{page}.md").read_text(), re.DOTALL)
    source = build(OmegaConf.create(block), Source)
    samples = source.samples(Findings())
    assert {sample.image_file for sample in samples} == set(LAYOUTS[page])
    assert {sample.labels_file for sample in samples} == set(LAYOUTS[page].values())
    assert "test" in {sample.split for sample in samples}
    panoptic = source.read(samples[0], Findings())
    assert {segment.category_id: segment.area for segment in panoptic.segments} == {0: 12, 1: 12}
