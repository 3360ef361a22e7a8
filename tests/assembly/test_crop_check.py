"""The warning where crops of the scenes meet larger images: by its rule, and in a training."""

import logging
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from commands import QUICK_PANOPTIC, run
from maskmill.assembly.conf_search_path import packaged_conf, register_search_path
from maskmill.assembly.crop_check import small_crops, warn_of_small_crops
from maskmill.assembly.plan_settings import PlanSettings
from maskmill.assembly.planning import make_plan
from maskmill.canonical.files import read_json
from maskmill.sources.convert import Converter
from maskmill.sources.scenes import Scenes, SceneSet

FACTOR = 4  # of the sides of a scene: 384 x 640 px
WARNING = (
    "crops have 96 x 160 px, but the training images have 384 x 640 px: the default sizes fit the "
    "embedded scenes - either run `maskmill plan` and train with experiment=planned, or set "
    "data.crop_size"
)


def sizes(*, height, width):
    return {"height": height, "width": width}


# A crop of 96 x 160 px has 15,360 px: a tenth of 320 x 480 px.
@pytest.mark.parametrize(
    ("images", "is_found"),
    [
        (sizes(height=[96, 96], width=[160, 160]), False),
        (sizes(height=[320, 320], width=[480, 480]), False),
        (sizes(height=[320, 320], width=[481, 481]), True),
        (sizes(height=[320, 4000], width=[480, 6000]), False),
        (None, False),
    ],
)
def test_crops_below_a_tenth_of_the_smallest_image_are_found(images, is_found):
    assert (small_crops([96, 160], images) is not None) == is_found


def test_images_of_several_sizes_are_named_by_the_smallest_and_the_largest():
    found = small_crops([96, 160], sizes(height=[500, 966], width=[800, 1296]))
    assert "the training images have 500 x 800 to 966 x 1296 px: " in found


@pytest.mark.parametrize("size", [[96, 96], [160, 96], [64, 64], [256, 256]])
def test_crops_of_another_size_are_not_judged(size):
    assert small_crops(size, sizes(height=[5000, 5000], width=[5000, 5000])) is None


@pytest.fixture(scope="module")
def projects(tmp_path_factory):
    """Two projects: `scenes` with prepared scenes, `large` with the same at four times the side."""
    folders = {}
    for name, factor in (("scenes", 1), ("large", FACTOR)):
        folder = tmp_path_factory.mktemp(name)
        SceneSet(folder / "data", 2, 1, 1, 0).write()
        for path in (folder / "data").rglob("*.png"):
            image = Image.open(path)
            side = [factor * length for length in image.size]
            image.resize(side, Image.Resampling.NEAREST).save(path)
        Converter(folder / "out/prepare", workers=1).convert(Scenes(folder / "data"))
        folders[name] = folder
    return folders


def warnings(folder, caplog, *overrides):
    """What a training of this project would warn of."""
    dataset = read_json(folder / "out/prepare/dataset.json")
    register_search_path()
    with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
        crop_size = compose("config", list(overrides)).data.crop_size
    with caplog.at_level(logging.WARNING):
        warn_of_small_crops(crop_size, dataset)
    return caplog.messages


@pytest.mark.slow
def test_the_scenes_get_no_warning(projects, caplog):
    assert warnings(projects["scenes"], caplog) == []


@pytest.mark.slow
def test_a_planned_experiment_of_large_images_gets_no_warning(projects, caplog, monkeypatch):
    folder = projects["large"]
    assert warnings(folder, caplog) == [WARNING]
    monkeypatch.chdir(folder)
    out = Path("conf/experiment/planned.yaml")
    data = Path("out/prepare")
    settings = PlanSettings(data, out, minutes=1, epochs=1, weights="none", device="cpu")
    with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
        make_plan(settings, [])
    caplog.clear()  # it warns of a single step
    assert warnings(folder, caplog, "experiment=planned") == []


@pytest.mark.slow
def test_a_training_of_large_images_warns_once(projects):
    output = run("train", *QUICK_PANOPTIC, "trainer.max_epochs=1", cwd=projects["large"])
    assert output.count(WARNING) == 1
