"""A second conversion reads only what changed."""

import os
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from commands import run, start
from maskmill.canonical.png import read_rgb
from maskmill.sources.convert import Converter
from maskmill.sources.scenes import Scenes, SceneSet


@pytest.fixture
def raw(tmp_path):
    return SceneSet(tmp_path / "raw", num_train=6, num_val=2, num_test=2, seed=4).write().parent


class Watched(Scenes):
    """Scenes that list what is read in a file."""

    def read(self, sample, findings):
        with (self.root / "read.txt").open("a") as file:
            file.write(f"{sample.name}\n")
        return super().read(sample, findings)


class Other(Watched):
    """A source with other settings, as far as the cache can see."""


def convert(raw, out, source=Watched, *, code="code"):
    """The dataset, and the names of the samples that were read."""
    converter = Converter(out, workers=1, cache=out.parent / "cache", code_digest=code)
    (raw / "read.txt").write_text("")
    dataset = converter.convert(source(raw))
    return dataset, (raw / "read.txt").read_text().split()


def files_of(folder):
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def change(path):
    image = read_rgb(path)
    image[0, 0] ^= 1
    Image.fromarray(image).save(path)


@pytest.mark.slow
def test_an_unchanged_data_set_is_not_read_again_and_gives_the_same_result(raw, tmp_path):
    first, read = convert(raw, tmp_path / "out")
    assert len(read) == 10
    before = files_of(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")  # as DVC does before it runs a stage again
    again, read = convert(raw, tmp_path / "out")
    assert read == []
    assert again == first
    assert files_of(tmp_path / "out") == before


@pytest.mark.slow
def test_only_a_changed_image_and_a_changed_label_are_read_again(raw, tmp_path):
    convert(raw, tmp_path / "out")
    change(raw / "images" / "train_0003.png")
    os.utime(raw / "instances" / "val_0001.png", ns=(1, 1))
    dataset, read = convert(raw, tmp_path / "out")
    assert sorted(read) == ["train_0003", "val_0001"]
    fresh = Converter(tmp_path / "fresh", workers=1).convert(Watched(raw))
    assert fresh == dataset
    assert files_of(tmp_path / "fresh") == files_of(tmp_path / "out")


@pytest.mark.slow
def test_another_setting_of_the_source_reads_everything(raw, tmp_path):
    convert(raw, tmp_path / "out")
    _, read = convert(raw, tmp_path / "out", Other)
    assert len(read) == 10


@pytest.mark.slow
def test_another_digest_of_the_code_reads_everything(raw, tmp_path):
    convert(raw, tmp_path / "out", code="old")
    old = set((tmp_path / "cache" / "files").iterdir())
    _, read = convert(raw, tmp_path / "out", code="new")
    assert len(read) == 10
    new = set((tmp_path / "cache" / "files").iterdir())
    assert len(old) == len(new) == 20
    assert not old & new  # entries of other code are removed


def test_an_image_removed_from_the_data_set_is_removed_from_the_cache(raw, tmp_path):
    convert(raw, tmp_path / "out")
    text = (raw / "scenes.json").read_text()
    (raw / "scenes.json").write_text(
        text.replace('"train_0005"', '"train_0004"').replace('"train_0004",', "", 1)
    )
    convert(raw, tmp_path / "out")
    assert len(list((tmp_path / "cache" / "files").glob("*.image"))) == 9


@pytest.mark.slow
def test_dvc_gets_copies_since_it_replaces_links(raw, tmp_path, monkeypatch):
    convert(raw, tmp_path / "out")
    image = tmp_path / "out/train/images/train_0000.png"
    assert image.stat().st_nlink == 2  # in the cache too
    before = files_of(tmp_path / "out")
    monkeypatch.setenv("DVC_STAGE", "prepare")  # as DVC sets it for its commands
    for _ in range(2):  # from the cache, then new files
        _, read = convert(raw, tmp_path / "out")
        assert {path.stat().st_nlink for path in (tmp_path / "out").rglob("*.png")} == {1}
        assert files_of(tmp_path / "out") == before
        shutil.rmtree(tmp_path / "cache")
    assert len(read) == 10


@pytest.mark.slow
def test_a_conversion_that_stops_keeps_what_earlier_ones_have_cached(raw, tmp_path):
    convert(raw, tmp_path / "out")
    broken = raw / "images/train_0001.png"
    content = broken.read_bytes()
    broken.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"train_0001\.png"):
        convert(raw, tmp_path / "out")
    broken.write_bytes(content)
    _, read = convert(raw, tmp_path / "out")
    assert read == ["train_0001"]


@pytest.mark.slow
def test_changes_in_the_output_do_not_change_the_result(raw, tmp_path):
    convert(raw, tmp_path / "out")
    before = files_of(tmp_path / "out")
    images = tmp_path / "out" / "train" / "images"
    change(images / "train_0000.png")  # in place: the hard link in the cache changes too
    convert(raw, tmp_path / "out")
    assert files_of(tmp_path / "out") == before


def truncate(content, _):
    return content[: len(content) // 2]


def flip(content, generator):
    content = np.frombuffer(content, np.uint8).copy()
    content[generator.choice(len(content), 64, replace=False)] ^= 0xFF
    return content.tobytes()


def change_a_row(content, _):
    return content.replace(b'"height": 96', b'"height": 69')


@pytest.mark.slow
@pytest.mark.parametrize("damage", [truncate, flip, change_a_row])
def test_a_damaged_index_does_not_change_the_result(raw, tmp_path, damage):
    first, _ = convert(raw, tmp_path / "out")
    index = tmp_path / "cache/index.db"
    index.write_bytes(damage(index.read_bytes(), np.random.default_rng(0)))
    assert damage is not change_a_row or b'"height": 69' in index.read_bytes()
    again, read = convert(raw, tmp_path / "out")
    assert again == first
    assert len(read) == 10


@pytest.mark.slow
def test_a_killed_prepare_leaves_no_data_set_and_the_next_one_cleans_up(tmp_path):
    SceneSet(tmp_path / "raw", num_train=40, num_val=1, num_test=1, seed=4).write()
    line = ["prepare", "source.root=raw", "prepare.workers=1", "out=made"]
    process = start(*line, cwd=tmp_path)
    while len(list((tmp_path / "made").glob(".prepare.maskmill/new/train/images/*.png"))) < 8:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill_group()
    process.communicate()
    assert not (tmp_path / "made" / "prepare").exists()
    assert (tmp_path / "made" / ".prepare.maskmill").exists()
    run(*line, cwd=tmp_path)
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["prepare", "state"]
