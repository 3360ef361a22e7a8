import hashlib
import logging
import shutil

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from maskmill.assembly.build import build
from maskmill.canonical.files import read_json
from maskmill.canonical.folder import PanopticFolder
from maskmill.canonical.png import read_rgb
from maskmill.sources.convert import Converter
from maskmill.sources.finding import Findings
from maskmill.sources.progress import show_progress
from maskmill.sources.scenes import Scenes, SceneSet


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    SceneSet(folder, num_train=3, num_val=1, num_test=2, seed=9).write()
    return folder


@pytest.fixture
def raw(drawn, tmp_path):
    return shutil.copytree(drawn, tmp_path / "raw")


def convert(raw, out, **options):
    return Converter(out, **({"workers": 1} | options)).convert(Scenes(raw))


def files_of(folder):
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_the_result_is_a_canonical_data_set(raw, tmp_path):
    dataset = convert(raw, tmp_path / "out")
    assert dataset == read_json(tmp_path / "out" / "dataset.json")
    num_images = {split: row["num_images"] for split, row in dataset["splits"].items()}
    assert num_images == {"train": 3, "val": 1, "test": 2}
    source = Scenes(raw)
    target = {}
    for sample in source.samples(Findings()):
        target[f"{sample.name}.png"] = source.read(sample, Findings())
    for split in dataset["splits"]:
        folder = PanopticFolder(tmp_path / "out" / split)
        assert folder.categories.as_list() == dataset["categories"]
        assert [record.id for record in folder.records] == list(range(1, len(folder) + 1))
        for record in folder.records:
            assert np.array_equal(folder.image(record), read_rgb(raw / "images" / record.file_name))
            assert np.array_equal(folder.panoptic(record.id).ids, target[record.file_name].ids)


@pytest.mark.slow
def test_workers_and_backend_do_not_change_a_byte(raw, tmp_path):
    convert(raw, tmp_path / "one")
    convert(raw, tmp_path / "two", workers=2)
    convert(raw, tmp_path / "threads", workers=2, backend="threading")
    files = files_of(tmp_path / "one")
    assert files_of(tmp_path / "two") == files
    assert files_of(tmp_path / "threads") == files


def test_the_digest_is_that_of_sha256sum(raw, tmp_path):
    dataset = convert(raw, tmp_path / "out")
    files = files_of(tmp_path / "out")
    del files["dataset.json"]
    del files[".maskmill.json"]
    lines = []
    for name, data in sorted(files.items()):
        lines.append(f"{hashlib.sha256(data).hexdigest()}  {name}\n")
    assert dataset["digest"] == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_one_changed_pixel_changes_the_digest(raw, tmp_path):
    before = convert(raw, tmp_path / "out")["digest"]
    image = read_rgb(raw / "images" / "test_0001.png")
    image[0, 0, 0] ^= 1
    Image.fromarray(image).save(raw / "images" / "test_0001.png")
    assert convert(raw, tmp_path / "out")["digest"] != before


def test_statistics_equal_those_of_all_pixels_at_once(raw, tmp_path):
    statistics = convert(raw, tmp_path / "out")["statistics"]["train"]
    folder = PanopticFolder(tmp_path / "out" / "train")
    images = np.stack([folder.image(record) for record in folder.records]).astype(np.float64)
    labels = [folder.panoptic(record.id) for record in folder.records]
    ids = np.stack([panoptic.ids for panoptic in labels])
    classes = np.stack([panoptic.category_map() for panoptic in labels])
    rounding = 1e-3  # to three digits
    assert statistics["rgb_mean"] == pytest.approx(images.mean((0, 1, 2)), abs=rounding)
    assert statistics["rgb_std"] == pytest.approx(images.std((0, 1, 2)), abs=rounding)
    assert statistics["pixels"] == 3 * 96 * 160
    assert statistics["height"] == [96, 96]
    assert statistics["width"] == [160, 160]
    assert statistics["void_pixels"] == np.count_nonzero(ids == 0)
    for row in statistics["classes"]:
        is_class = classes == row["id"]
        num_segments = [len(np.unique(ids[i][is_class[i]])) for i in range(len(ids))]
        assert row["pixels"] == np.count_nonzero(is_class)
        assert row["segments"] == sum(num_segments)
        assert row["images"] == np.count_nonzero(num_segments)


def truncate_image(raw):
    path = raw / "images" / "train_0001.png"
    path.write_bytes(path.read_bytes()[:5000])


def no_labels(raw):
    (raw / "classes" / "train_0001.png").unlink()


def other_size(raw):
    for kind in ("classes", "instances"):
        Image.new("L", (20, 10), 1 if kind == "classes" else 0).save(raw / kind / "train_0001.png")


def unknown_class(raw):
    Image.new("L", (160, 96), 99).save(raw / "classes" / "train_0001.png")


def no_image(raw):
    (raw / "images" / "train_0001.png").unlink()


def sixteen_bits(raw):
    Image.fromarray(np.zeros((96, 160), np.uint16)).save(raw / "images" / "train_0001.png")


FAULTS = [
    pytest.param(
        truncate_image,
        r"images/train_0001\.png: expected a complete image, but it is truncated",
        id="truncated",
    ),
    pytest.param(
        no_labels,
        r"classes/train_0001\.png: expected an image, but there is no such file - either add it",
        id="no-labels",
    ),
    pytest.param(
        other_size,
        r"train_0001\.png: expected labels of 96 x 160 pixels .* but got 10 x 20 - export them",
        id="size",
    ),
    pytest.param(
        unknown_class,
        r"classes/train_0001\.png: expected ids of the category table or void ids, but got \[99\]",
        id="class",
    ),
    pytest.param(no_image, r"images/train_0001\.png: expected an image, but", id="no-image"),
    pytest.param(sixteen_bits, r"images/train_0001\.png: expected 8 bits per channel", id="16-bit"),
]


@pytest.mark.parametrize(("fault", "message"), FAULTS)
def test_an_error_names_its_file_and_leaves_nothing(raw, tmp_path, fault, message):
    fault(raw)
    with pytest.raises(ValueError, match=message) as caught:
        convert(raw, tmp_path / "out")
    ending = "to continue without such images: prepare.on_problem=exclude)"
    assert str(caught.value).endswith(ending)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


@pytest.mark.parametrize(("fault", "message"), FAULTS)
def test_an_excluded_image_is_listed_and_warned_of(raw, tmp_path, caplog, fault, message):
    fault(raw)
    with caplog.at_level(logging.WARNING):
        dataset = convert(raw, tmp_path / "out", on_problem="exclude")
    assert dataset["splits"]["train"]["num_images"] == 2
    assert [(row["split"], row["name"]) for row in dataset["problems"]] == [("train", "train_0001")]
    records = PanopticFolder(tmp_path / "out" / "train").records
    assert [record.id for record in records] == [1, 3]  # the others keep their ids
    assert "excluded train_0001 of train" in caplog.text
    assert not (tmp_path / "out" / "train" / "images" / "train_0001.png").exists()


def test_the_old_output_stays_when_the_new_one_fails(raw, tmp_path):
    convert(raw, tmp_path / "out")
    before = files_of(tmp_path / "out")
    truncate_image(raw)
    with pytest.raises(ValueError, match="truncated"):
        convert(raw, tmp_path / "out")
    assert files_of(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]


def test_an_old_output_is_replaced_as_a_whole(raw, tmp_path):
    convert(raw, tmp_path / "out")
    (raw / "images" / "train_0000.png").unlink()
    convert(raw, tmp_path / "out", on_problem="exclude")
    assert not (tmp_path / "out" / "train" / "images" / "train_0000.png").exists()


def test_an_old_output_with_files_of_the_user_is_not_replaced(raw, tmp_path):
    convert(raw, tmp_path / "out")
    own = tmp_path / "out" / "train" / "images" / "mine.png"
    own.touch()
    with pytest.raises(ValueError, match=r"found added, removed or renamed files in it \(train\)"):
        convert(raw, tmp_path / "out")
    assert own.exists()


def test_a_folder_with_other_files_is_not_replaced(raw, tmp_path):
    message = r"raw: expected a folder that `prepare` may replace, but it contains the input"
    with pytest.raises(ValueError, match=message):
        convert(raw, raw)
    assert (raw / "scenes.json").is_file()


def test_a_split_that_loses_all_images_is_refused(raw, tmp_path):
    (raw / "classes" / "val_0000.png").unlink()
    message = r"but all images of val have a problem, for example: .*val_0000\.png"
    with pytest.raises(ValueError, match=message):
        convert(raw, tmp_path / "out", on_problem="exclude")
    assert not (tmp_path / "out").exists()


def test_a_repeated_name_is_refused(raw, tmp_path):
    text = (raw / "scenes.json").read_text()
    (raw / "scenes.json").write_text(text.replace('"train_0002"', '"train_0001"'))
    with pytest.raises(
        ValueError,
        match=r"train_0001\.png: expected each name once in a split .* - rename or remove one",
    ):
        convert(raw, tmp_path / "out")


def test_a_missing_root_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: expected a folder of the data set"):
        convert(tmp_path / "nowhere", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_no_workers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`workers` of at least 1, or -1"):
        Converter(tmp_path, workers=0)


@pytest.mark.parametrize("max_pixels", [0, -1])
def test_a_limit_of_pixels_out_of_range_is_refused(tmp_path, max_pixels):
    target = "maskmill.sources.convert.Converter"
    config = {"_target_": target, "out": str(tmp_path), "max_pixels": max_pixels}
    with pytest.raises(ValueError, match=r"prepare\.max_pixels: .* than or equal to"):
        build(OmegaConf.create({"prepare": config}).prepare, Converter)


def test_long_work_logs_its_progress_ten_times(caplog):
    with caplog.at_level(logging.INFO):
        items = list(show_progress(iter(range(2000)), 2000, "prepare"))
    messages = [record.getMessage() for record in caplog.records]
    assert items == list(range(2000))
    assert messages[:2] == ["200 of 2000 images, 0:00:00 left", "400 of 2000 images, 0:00:00 left"]
    assert len(messages) == 10
