import shutil

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from maskmill.assembly.build import build
from maskmill.canonical.files import read_json, write_json
from maskmill.canonical.png import read_labels, read_rgb, write_labels
from maskmill.sources import scene_painter
from maskmill.sources.finding import Findings
from maskmill.sources.scenes import Scenes, SceneSet


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    SceneSet(folder, num_train=2, num_val=1, num_test=1, seed=4).write()
    return folder


@pytest.fixture
def root(drawn, tmp_path):
    return shutil.copytree(drawn, tmp_path / "scenes")


def test_the_committed_scenes_equal_newly_drawn_ones(repository):
    folder = repository / "samples" / "scenes"
    index = read_json(folder / "scenes.json")
    for stream, (split, number) in enumerate([("train", 127), ("val", 7), ("test", 0)]):
        name = f"{split}_{number:04d}"
        assert name in index["splits"][split]
        scene = scene_painter.paint(index["seed"], stream, number)
        assert np.array_equal(read_rgb(folder / "images" / f"{name}.png"), scene.image)
        assert np.array_equal(read_labels(folder / "classes" / f"{name}.png"), scene.classes)
        assert np.array_equal(read_labels(folder / "instances" / f"{name}.png"), scene.instances)


def test_the_committed_scenes_stay_small(repository):
    paths = (repository / "samples" / "scenes").rglob("*.png")
    assert sum(path.stat().st_size for path in paths) < 6e6


def test_a_scene_does_not_depend_on_how_many_are_drawn(drawn):
    more = SceneSet(drawn.parent / "more", num_train=1, num_val=2, num_test=3, seed=4)
    first = dict(more.scenes())["test_0000"]
    assert np.array_equal(read_rgb(drawn / "images" / "test_0000.png"), first.image)


@pytest.mark.parametrize("number", range(4))
def test_a_scene_has_three_to_eight_visible_things(number):
    scene = scene_painter.paint(1, 0, number)
    areas = np.bincount(scene.instances.ravel())[1:]
    assert 3 <= len(areas) <= 8
    assert areas.min() >= scene_painter.MIN_VISIBLE_PX
    assert {1, 3, 4, 255} <= set(np.unique(scene.classes).tolist())  # sky, grass, road, hood


def test_reading_returns_every_written_pixel(drawn):
    source = Scenes(drawn)
    samples = source.samples(Findings())
    assert [(sample.split, sample.name) for sample in samples] == [
        ("train", "train_0000"),
        ("train", "train_0001"),
        ("val", "val_0000"),
        ("test", "test_0000"),
    ]
    for sample in samples:
        panoptic = source.read(sample, Findings())
        classes = read_labels(sample.labels)
        instances = read_labels(drawn / "instances" / f"{sample.name}.png")
        assert np.array_equal(np.where(classes == 255, -1, classes), panoptic.category_map())
        isthing = instances > 0
        pairs = np.unique(np.stack([panoptic.ids[isthing], instances[isthing]]), axis=1)
        assert pairs.shape[1] == instances.max()


def change_labels(root, kind, change):
    path = root / kind / "train_0000.png"
    labels = read_labels(path)
    change(labels)
    write_labels(path, labels)


def set_all(old, new):
    def change(labels):
        labels[labels == old] = new

    return change


BAD_LABELS = [
    pytest.param(
        "classes",
        set_all(3, 99),
        "expected ids of the category table or void ids, but got [99]",
        id="unknown-class",
    ),
    pytest.param(
        "instances",
        set_all(2, 0),
        "expected an instance id on every thing and on nothing else, but",
        id="thing-without-id",
    ),
    pytest.param(
        "instances", set_all(0, 9), "has instance id 9 - fix the instance ids", id="stuff-with-id"
    ),
    pytest.param("classes", lambda labels: labels.fill(255), "every pixel is void", id="all-void"),
]


@pytest.mark.parametrize(("kind", "change", "message"), BAD_LABELS)
def test_invalid_labels_are_refused_with_their_path(root, kind, change, message):
    change_labels(root, kind, change)
    source = Scenes(root)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        source.read(source.samples(Findings())[0], Findings())
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(root / "classes" / "train_0000.png"))


def test_an_instance_of_two_classes_is_refused(root):
    classes = np.array([[11, 12], [1, 1]])
    write_labels(root / "classes" / "train_0000.png", classes)
    write_labels(root / "instances" / "train_0000.png", np.array([[1, 1], [0, 0]]))
    source = Scenes(root)
    with pytest.raises(ValueError, match="expected one class per instance, but instance 1 has two"):
        source.read(source.samples(Findings())[0], Findings())


def test_instances_of_another_size_are_refused(root):
    Image.new("L", (5, 4)).save(root / "instances" / "train_0000.png")
    source = Scenes(root)
    with pytest.raises(
        ValueError, match=r"instances.train_0000.png: expected labels of 96 x 160 pixels"
    ):
        source.read(source.samples(Findings())[0], Findings())


def test_a_split_without_scenes_is_refused(root):
    index = read_json(root / "scenes.json")
    index["splits"]["val"] = []
    write_json(root / "scenes.json", index)
    with pytest.raises(ValueError, match="expected images in every split, but found none for val"):
        Scenes(root).samples(Findings())


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r"nowhere: expected a folder of the data set, .* check `source.root`",
    ):
        Scenes(tmp_path / "nowhere").samples(Findings())


def test_a_folder_of_another_layout_is_told_to_choose_a_source(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"either choose the layout .*, .* source=camvid"):
        Scenes(tmp_path).samples(Findings())


def test_an_index_without_categories_is_refused(tmp_path):
    write_json(tmp_path / "scenes.json", {"splits": {}})
    with pytest.raises(
        ValueError, match=r"lacks \['categories', 'void'\] - write it with `maskmill draw`"
    ):
        Scenes(tmp_path).samples(Findings())


def test_drawing_over_a_larger_set_removes_its_scenes(root):
    SceneSet(root, num_train=1, num_val=1, num_test=1, seed=4).write()
    assert sorted(path.stem for path in (root / "images").iterdir()) == [
        "test_0000",
        "train_0000",
        "val_0000",
    ]


def test_drawing_does_not_touch_a_folder_with_other_files(tmp_path):
    (tmp_path / "thesis.txt").write_text("unique")
    with pytest.raises(
        ValueError, match=r"but found other files \(thesis\.txt\) - either set `draw\.out`"
    ):
        SceneSet(tmp_path, num_train=1, num_val=1, num_test=1, seed=0).write()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(("key", "value"), [("num_val", 0), ("seed", -1)])
def test_a_set_without_a_split_and_a_negative_seed_are_refused(tmp_path, key, value):
    config = {"_target_": "maskmill.sources.scenes.SceneSet", "out": str(tmp_path)}
    config |= {"num_train": 1, "num_val": 1, "num_test": 1, "seed": 0, key: value}
    with pytest.raises(ValueError, match=rf"draw\.{key}: .* greater than or equal to"):
        build(OmegaConf.create({"draw": config}).draw, SceneSet)
