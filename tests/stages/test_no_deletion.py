"""No command deletes or overwrites a file that it did not write, started as users start it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn

from commands import run
from maskmill.assembly.build import build
from maskmill.canonical.png import write_rgb
from maskmill.serving.model_files import write_model
from maskmill.sources.scenes import SceneSet
from strategies import CATEGORIES

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A semantic model with random weights, as `train` writes it."""
    torch.manual_seed(0)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", ["task=semantic", "network=fpn"])
    network = build(cfg.network, nn.Module, num_classes=CATEGORIES.num_outputs)
    config = {key: OmegaConf.to_container(cfg[key], resolve=True) for key in ("network", "task")}
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, network.state_dict(), config, CATEGORIES, "digest")
    return folder


@pytest.fixture
def photos(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        write_rgb(tmp_path / "photos" / name, np.full((40, 50, 3), 90, np.uint8))
    (tmp_path / "photos" / "notes.txt").write_text("mine")
    return tmp_path / "photos"


def files(folder):
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.slow
def test_predict_does_not_replace_the_folder_of_the_images(tmp_path, photos):
    before = files(tmp_path)
    said = run("predict", "predict.images=photos", "predict.out=photos", cwd=tmp_path, status=1)
    assert "photos: expected a folder that `predict` may replace, but it contains the input" in said
    assert files(tmp_path) == before


@pytest.mark.slow
@pytest.mark.parametrize("command", ["draw", "prepare", "shard"])
def test_a_command_does_not_replace_a_folder_of_the_user(tmp_path, photos, command):
    SceneSet(tmp_path / "data", num_train=1, num_val=1, num_test=1, seed=0).write()
    if command == "shard":
        run("prepare", "prepare.workers=1", cwd=tmp_path)
    before = files(tmp_path)
    said = run(command, f"{command}.out=photos", cwd=tmp_path, status=1)
    assert f"photos: expected a new folder or one that `maskmill {command}` wrote" in said
    assert files(tmp_path) == before


@pytest.mark.slow
def test_images_that_would_share_one_prediction_are_refused_by_name(tmp_path, photos):
    write_rgb(photos / "a.png", np.zeros((40, 50, 3), np.uint8))
    said = run("predict", "predict.images=photos", cwd=tmp_path, status=1)
    assert "but got a.jpg and a.png, whose labels would both be written to a.png" in said
    assert not (tmp_path / "out" / "predict").exists()


def absolute(victim):
    return str(victim)


def climbing(victim):
    return f"../../{victim.name}"


@pytest.mark.slow
@pytest.mark.parametrize("name_of", [absolute, climbing])
def test_a_file_name_in_a_split_cannot_leave_its_folder(tmp_path, name_of):
    victim = tmp_path / "victim.png"
    victim.write_bytes(b"mine")
    index = {
        "images": [{"id": 1, "file_name": name_of(victim), "height": 4, "width": 4}],
        "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": []}],
        "categories": [{"id": 1, "name": "x"}],
    }
    (tmp_path / "split").mkdir()
    (tmp_path / "split" / "panoptic.json").write_text(json.dumps(index))
    said = run("predict", "predict.images=split", cwd=tmp_path, status=1)
    assert "leaves the data folder" in said
    assert victim.read_bytes() == b"mine"


@pytest.mark.slow
def test_predict_replaces_its_own_output_and_nothing_else(tmp_path, photos, model):
    line = ["predict", "predict.images=photos", f"predict.model={model}", "predict.out=masks"]
    run(*line, cwd=tmp_path)
    first = files(tmp_path / "masks")
    assert {"panoptic/a.png", "semantic/b.png", "panoptic.json", ".maskmill.json"} < first.keys()
    run(*line, cwd=tmp_path)
    assert files(tmp_path / "masks") == first

    (tmp_path / "masks" / "panoptic" / "corrected.png").write_text("mine")
    said = run(*line, cwd=tmp_path, status=1)
    assert "found added, removed or renamed files in it (panoptic)" in said
    assert (tmp_path / "masks" / "panoptic" / "corrected.png").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["masks", "photos"]
