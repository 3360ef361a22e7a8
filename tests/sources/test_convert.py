import hashlib
import logging
import shutil

import numpy as np
import pytest
from PIL import Image

from maskmill.canonical.files import read_json
from maskmill.canonical.folder import PanopticFolder
from maskmill.canonical.png import read_rgb
from maskmill.sources.convert import Converter
from maskmill.sources.finding import Findings
from maskmill.sources.scenes import Scenes, SceneSet


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return (
        SceneSet(tmp_path_factory.mktemp("drawn"), num_train=3, num_val=1, num_test=2, seed=9)
        .write()
        .parent
    )


@pytest.fixture
def raw(drawn, tmp_path):
    return shutil.copytree(drawn, tmp_path / "raw")


def convert(raw, out, **options):
    return Converter(out, **({"workers": 1} | options)).convert(Scenes(raw))


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_result_is_a_canonical_data_set(raw, tmp_path):
    dataset = convert(raw, tmp_path / "out")
    assert dataset == read_json(tmp_path / "out" / "dataset.json")
    assert {split: row["num_images"] for split, row in dataset["splits"].items()} == {
        "train": 3,
        "val": 1,
        "test": 2,
    }
    source = Scenes(raw)
    truth = {
        f"{sample.name}.png": source.read(sample, Findings())
        for sample in source.samples(Findings())
    }
    for split in dataset["splits"]:
        folder = PanopticFolder(tmp_path / "out" / split)
        assert folder.categories.as_list() == dataset["categories"]
        assert [record.id for record in folder.records] == list(range(1, len(folder) + 1))
        for record in folder.records:
            assert np.array_equal(folder.image(record), read_rgb(raw / "images" / record.file_name))
            assert np.array_equal(folder.panoptic(record.id).ids, truth[record.file_name].ids)


def test_workers_and_backend_do_not_change_a_byte(raw, tmp_path):
    for name, options in {
        "one": {},
        "two": {"workers": 2},
        "threads": {"workers": 2, "backend": "threading"},
    }.items():
        convert(raw, tmp_path / name, **options)
    assert (
        files_of(tmp_path / "one") == files_of(tmp_path / "two") == files_of(tmp_path / "threads")
    )


def test_the_digest_is_that_of_sha256sum(raw, tmp_path):
    dataset = convert(raw, tmp_path / "out")
    files = {
        name: data
        for name, data in files_of(tmp_path / "out").items()
        if name not in {"dataset.json", ".maskmill.json"}
    }
    lines = [
        f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items())
    ]
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
    pixels = np.concatenate(
        [folder.image(record).reshape(-1, 3) for record in folder.records]
    ).astype(np.float64)
    assert statistics["rgb_mean"] == pytest.approx(
        pixels.mean(axis=0), abs=1e-3
    )  # rounded to three digits
    assert statistics["rgb_std"] == pytest.approx(pixels.std(axis=0), abs=1e-3)
    assert (statistics["pixels"], statistics["height"], statistics["width"]) == (
        3 * 96 * 160,
        [96, 96],
        [160, 160],
    )
    maps = [folder.panoptic(record.id) for record in folder.records]
    for row in statistics["classes"]:
        assert row["pixels"] == sum(
            int((panoptic.category_map() == row["id"]).sum()) for panoptic in maps
        )
        segments = [
            sum(segment.category_id == row["id"] for segment in panoptic.segments)
            for panoptic in maps
        ]
        assert (row["segments"], row["images"]) == (
            sum(segments),
            sum(count > 0 for count in segments),
        )
    assert statistics["void_pixels"] == sum(int((panoptic.ids == 0).sum()) for panoptic in maps)


def cut_short(raw):
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
        cut_short,
        r"images/train_0001\.png: expected a whole image, but it is cut short",
        id="cut-short",
    ),
    pytest.param(
        no_labels,
        r"classes/train_0001\.png: expected an image here, but there is no such file - add it",
        id="no-labels",
    ),
    pytest.param(
        other_size,
        r"train_0001\.png: expected labels of 96 x 160 pixels .* but got 10 x 20 - export them again",
        id="size",
    ),
    pytest.param(
        unknown_class,
        r"classes/train_0001\.png: expected ids of the category table or void ids, but got \[99\]",
        id="class",
    ),
    pytest.param(no_image, r"images/train_0001\.png: expected an image here", id="no-image"),
    pytest.param(sixteen_bits, r"images/train_0001\.png: expected 8 bits a channel", id="16-bit"),
]


@pytest.mark.parametrize(("fault", "message"), FAULTS)
def test_a_fault_stops_with_its_place_and_leaves_nothing(raw, tmp_path, fault, message):
    fault(raw)
    with pytest.raises(ValueError, match=message) as caught:
        convert(raw, tmp_path / "out")
    assert str(caught.value).endswith("or go on without such images: prepare.on_problem=exclude)")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


@pytest.mark.parametrize(("fault", "message"), FAULTS)
def test_a_fault_can_be_left_out_counted_and_warned_of(raw, tmp_path, caplog, fault, message):
    fault(raw)
    with caplog.at_level(logging.WARNING):
        dataset = convert(raw, tmp_path / "out", on_problem="exclude")
    assert dataset["splits"]["train"]["num_images"] == 2
    assert [(row["split"], row["name"]) for row in dataset["problems"]] == [("train", "train_0001")]
    assert [record.id for record in PanopticFolder(tmp_path / "out" / "train").records] == [
        1,
        3,
    ]  # ids do not move up
    assert "left out train_0001 of train" in caplog.text
    assert not (tmp_path / "out" / "train" / "images" / "train_0001.png").exists()


def test_the_old_output_stays_in_place_when_the_new_one_fails(raw, tmp_path):
    convert(raw, tmp_path / "out")
    before = files_of(tmp_path / "out")
    cut_short(raw)
    with pytest.raises(ValueError, match="cut short"):
        convert(raw, tmp_path / "out")
    assert files_of(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]


def test_an_old_output_is_replaced_as_a_whole(raw, tmp_path):
    convert(raw, tmp_path / "out")
    before = files_of(tmp_path / "out")
    convert(raw, tmp_path / "out")
    assert files_of(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]


def test_a_folder_of_other_things_is_not_replaced(raw, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("mine")
    message = r"photos: expected a new folder or one that `maskmill prepare` wrote, but found"
    with pytest.raises(ValueError, match=message):
        convert(raw, tmp_path / "photos")
    assert (tmp_path / "photos" / "a.jpg").read_text() == "mine"


def test_the_raw_data_are_not_replaced(raw):
    with pytest.raises(ValueError, match="raw: .* it contains the input"):
        convert(raw, raw)
    assert (raw / "scenes.json").is_file()


def test_a_split_that_loses_all_images_is_refused(raw, tmp_path):
    (raw / "classes" / "val_0000.png").unlink()
    with pytest.raises(
        ValueError,
        match=r"Expected images in every split, but every one of val has a problem, as: .*val_0000\.png",
    ):
        convert(raw, tmp_path / "out", on_problem="exclude")
    assert not (tmp_path / "out").exists()


def test_a_name_that_stands_twice_is_refused(raw, tmp_path):
    text = (raw / "scenes.json").read_text()
    (raw / "scenes.json").write_text(text.replace('"train_0002"', '"train_0001"'))
    with pytest.raises(
        ValueError,
        match=r"train_0001\.png: expected each name once in a split .* - rename or remove one",
    ):
        convert(raw, tmp_path / "out")


def test_a_missing_root_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: expected a folder of the data set here"):
        convert(tmp_path / "nowhere", tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [({"workers": 0}, "`workers` of at least 1, or -1"), ({"max_pixels": 0}, "`max_pixels` in 1")],
)
def test_a_setting_out_of_range_is_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        Converter(tmp_path, **options)


def test_long_work_says_sparsely_how_far_it_is(caplog):
    from maskmill.sources.convert import _progress

    with caplog.at_level(logging.INFO):
        assert len(list(_progress(iter([None] * 2000), 2000, "prepare"))) == 2000
    assert [record.getMessage() for record in caplog.records][:2] == [
        "200 of 2000 images",
        "400 of 2000 images",
    ]
    assert len(caplog.records) == 10
