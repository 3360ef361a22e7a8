"""A folder in a layout that is not shipped, read by means of the README's YAML file alone."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import result
from maskmill.canonical.files import read_json
from maskmill.canonical.folder import PanopticFolder

REPOSITORY = Path(__file__).parents[2]
COLORS = {-1: (0, 0, 0), 1: (140, 100, 60), 2: (30, 160, 40), 3: (220, 30, 30)}


def run(command, *overrides, cwd):
    orchard = ["source=orchard", "source.root=orchard", "prepare.workers=1"]
    return result(command, *orchard, *overrides, cwd=cwd)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


@pytest.fixture
def project(tmp_path):
    """A project with the README's file and photographs of ten days; name -> class mask."""
    shutil.copytree(REPOSITORY / "conf", tmp_path / "conf")
    blocks = re.findall(r"```yaml\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    (block,) = [block for block in blocks if "ClassMasks" in block]
    (tmp_path / "conf" / "source" / "orchard.yaml").write_text(block)
    generator = np.random.default_rng(0)
    targets = {}
    for day in range(10):
        for number in range(2):
            name = f"2026-05-{day + 1:02}/IMG_{number:04}"
            classes = np.kron(
                generator.choice([-1, 1, 2, 3], (6, 8), p=[0.1, 0.3, 0.3, 0.3]),
                np.ones((8, 8), int),
            )
            table = np.array(list(COLORS.values()), np.uint8)  # void, 1, 2, 3
            colors = table[np.where(classes > 0, classes, 0)]
            photo = (colors // 2 + generator.integers(0, 120, colors.shape)).astype(np.uint8)
            save(tmp_path / "orchard" / "photos" / f"{name}.JPG", photo)
            save(tmp_path / "orchard" / "drawn" / f"{name}.label.png", colors)
            targets[name] = classes
    return tmp_path, targets


@pytest.mark.slow
def test_the_readmes_yaml_file_is_enough_for_another_layout(project):
    folder, targets = project
    done = run("check", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "checked 20 images: 0 errors, 0 warnings" in done.stdout
    done = run("prepare", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    out = folder / "out" / "prepare"
    found, split_of_day = {}, {}
    for split in read_json(out / "dataset.json")["splits"]:
        data = PanopticFolder(out / split)
        for record in data.records:
            name = Path(record.file_name).with_suffix("").as_posix()
            found[name] = data.panoptic(record.id).category_map()
            assert split_of_day.setdefault(name.partition("/")[0], split) == split
    assert found.keys() == targets.keys()
    assert all(np.array_equal(found[name], targets[name]) for name in targets)
    assert set(split_of_day.values()) == {"train", "val", "test"}


@pytest.mark.slow
def test_check_names_the_file_with_a_colour_without_a_class(project):
    folder, _ = project
    path = folder / "orchard" / "drawn" / "2026-05-03" / "IMG_0001.label.png"
    colors = np.array(Image.open(path))
    colors[8:24, 8:24] = (1, 2, 3)
    Image.fromarray(colors).save(path)
    done = run("check", cwd=folder)
    assert done.returncode == 1
    assert (
        "IMG_0001.label.png: expected colours of the category table, but got [(1, 2, 3)]"
        in done.stdout
    )
