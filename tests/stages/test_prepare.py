"""The programs `prepare` and `draw` as they are run: a process, Hydra, files."""

import subprocess
import sys

import pytest

from commands import result as run
from maskmill.canonical.files import read_json
from maskmill.sources.scenes import SceneSet


@pytest.fixture
def raw(tmp_path):
    return SceneSet(tmp_path / "raw", num_train=1, num_val=1, num_test=1, seed=2).write().parent


@pytest.mark.slow
def test_prepare_converts_a_source_and_says_where(raw, tmp_path):
    done = run(
        "prepare", f"source.root={raw}", "prepare.out=made", "prepare.workers=1", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "prepared train 1, val 1, test 1 images, 0 left out -> made" in done.stdout
    assert read_json(tmp_path / "made" / "dataset.json")["splits"] == {
        split: {"num_images": 1} for split in ("train", "val", "test")
    }


@pytest.mark.slow
def test_a_broken_source_ends_prepare_with_one_message_and_no_files(raw, tmp_path):
    (raw / "classes" / "val_0000.png").unlink()
    done = run(
        "prepare", f"source.root={raw}", "prepare.out=made", "prepare.workers=1", cwd=tmp_path
    )
    assert done.returncode == 1
    assert "val_0000.png: expected an image, but there is no such file" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "made").exists()
    assert {path.name for path in tmp_path.iterdir()} == {
        "raw",
        "out",
    }  # out/state keeps what was read, for the next try


@pytest.mark.slow
def test_classes_are_merged_and_dropped_on_the_line(raw, tmp_path):
    classes = (
        "++prepare.classes={grass: ground, road: ground, person: null}"  # the form the README shows
    )
    done = run(
        "prepare",
        f"source.root={raw}",
        "prepare.out=made",
        "prepare.workers=1",
        classes,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    names = [row["name"] for row in read_json(tmp_path / "made" / "dataset.json")["categories"]]
    assert names == ["sky", "building", "ground", "car", "tree"]


@pytest.mark.slow
def test_an_unknown_choice_for_a_problem_is_refused(raw, tmp_path):
    done = run(
        "prepare",
        f"source.root={raw}",
        "prepare.out=made",
        "prepare.on_problem=ignore",
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert "on_problem" in done.stdout + done.stderr


@pytest.mark.slow
def test_draw_writes_scenes_that_prepare_takes(tmp_path):
    counts = ["draw.num_train=2", "draw.num_val=1", "draw.num_test=1", "draw.seed=3"]
    assert run("draw", "draw.out=scenes", *counts, cwd=tmp_path).returncode == 0
    done = run(
        "prepare", "source.root=scenes", "prepare.out=made", "prepare.workers=1", cwd=tmp_path
    )
    assert "prepared train 2, val 1, test 1 images" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["prepare", "draw"])
def test_no_heavy_library_is_imported(stage):
    heavy = ["torch", "lightning", "mlflow", "matplotlib", "albumentations", "torchmetrics"]
    check = f"found = set({heavy}) & set(sys.modules); assert not found, found"
    code = f"import sys, maskmill.stages.{stage}; {check}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
