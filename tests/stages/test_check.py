"""The commands `check` and `preview` as users run them."""

import re

import pytest
from PIL import Image

from commands import result as run
from maskmill.canonical.files import read_json
from maskmill.sources.scenes import SceneSet


@pytest.fixture
def raw(tmp_path):
    return SceneSet(tmp_path / "raw", num_train=2, num_val=1, num_test=1, seed=2).write().parent


@pytest.mark.slow
def test_check_finds_no_problem_in_valid_data_and_writes_its_content(raw, tmp_path):
    done = run("check", f"source.root={raw}", "prepare.workers=1", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "checked 4 images: 0 errors" in done.stdout
    found = read_json(tmp_path / "out" / "check" / "check.json")
    assert found["splits"] == {
        "train": {"num_images": 2},
        "val": {"num_images": 1},
        "test": {"num_images": 1},
    }
    assert not (tmp_path / "out" / "prepare").exists()


@pytest.mark.slow
def test_check_names_every_broken_file_and_ends_with_status_1(raw, tmp_path):
    (raw / "classes" / "val_0000.png").unlink()
    image = raw / "images" / "train_0001.png"
    image.write_bytes(image.read_bytes()[:-500])
    done = run("check", f"source.root={raw}", "prepare.workers=1", cwd=tmp_path)
    assert done.returncode == 1
    assert (
        "val_0000.png: expected an image, but there is no such file - either add it" in done.stdout
    )
    assert "train_0001.png: expected a complete image, but it is truncated" in done.stdout
    assert "checked 4 images: 2 errors" in done.stdout


@pytest.mark.slow
def test_check_groups_repeats_and_says_where_to_start(raw, tmp_path):
    for split, count in (("train", 2), ("val", 1), ("test", 1)):
        for number in range(count):
            (raw / "classes" / f"{split}_{number:04}.png").unlink()
    Image.new("RGB", (8, 8)).save(raw / "images" / "val_0000.png")
    done = run("check", f"source.root={raw}", "prepare.workers=1", cwd=tmp_path)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    message = "expected an image, but there is no such file"
    names = ["train_0000", "train_0001", "val_0000"]
    assert lines[0] == (f"error    4 times: {message} - either add it or remove it from the list")
    files = [line.split(":")[0] for line in lines[1:4]]
    assert files == [f"{'':9}  for example {raw}/classes/{name}.png" for name in names]
    assert lines[-2].startswith("checked 4 images: 4 errors")
    assert lines[-1].endswith("either add it or remove it from the list (4 of this kind)")


@pytest.mark.slow
def test_preview_shows_each_image_as_often_as_asked_and_loads_nothing(raw, tmp_path):
    assert run("prepare", f"source.root={raw}", "prepare.workers=1", cwd=tmp_path).returncode == 0
    done = run("preview", "preview.num_images=2", "preview.num_draws=3", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 images of train -> out/preview/preview.html" in done.stdout
    page = (tmp_path / "out" / "preview" / "preview.html").read_text()
    assert len(re.findall("<img ", page)) == 6
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert "train_0001.png, epoch 3" in page


@pytest.mark.slow
def test_preview_of_a_split_that_is_not_there_says_what_to_do(tmp_path):
    done = run("preview", cwd=tmp_path)
    assert done.returncode == 1
    assert (
        "out/prepare/train: expected a split of a prepared data set, but there is none - either "
        "run `maskmill prepare` first" in done.stdout
    )
