"""`predict` with a real, small network: resumed, in processes, with overlays, and in Python."""

import json
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn

from maskmill import load_model
from maskmill.assembly.build import build
from maskmill.assembly.prediction_job import PredictionJob
from maskmill.canonical.folder import PanopticFolder
from maskmill.canonical.output_folder import MARK
from maskmill.serving.image_folder import find_images
from maskmill.serving.model_files import write_model
from maskmill.serving.unfinished import UnfinishedFolder
from strategies import CATEGORIES

CALIBRATION = {
    "_target_": "maskmill.postprocess.calibration.Calibration",
    **{"temperature": 2.5, "slope": 1.0, "offset": 0.0},
}
SIZES = [(50, 70), (50, 70), (64, 40), (33, 47), (33, 47)]


def composed(repository, *overrides):
    with initialize_config_dir(str(repository / "conf"), version_base="1.3"):
        return compose("config", list(overrides))


@pytest.fixture(scope="module")
def work(tmp_path_factory, repository):
    """A model of random weights and five photographs."""
    folder = tmp_path_factory.mktemp("work")
    torch.manual_seed(0)
    cfg = composed(repository, "task=semantic", "network=fpn", "loss=cross_entropy")
    network = build(cfg.network, nn.Module, num_classes=CATEGORIES.num_outputs)
    config = {name: OmegaConf.to_container(cfg[name], resolve=True) for name in ("network", "task")}
    config["task"]["postprocess"]["calibration"] = CALIBRATION
    config["data"] = {"crop_size": [32, 64]}
    write_model(folder / "model", network.state_dict(), config, CATEGORIES, "digest")
    (folder / "photos").mkdir()
    for number, (height, width) in enumerate(SIZES):
        noise = np.random.default_rng(number).integers(0, 256, (height // 4, width // 4, 3))
        photo = cv2.resize(noise.astype(np.uint8), (width, height))
        cv2.imwrite(str(folder / "photos" / f"{number}.png"), photo)
    return folder


@pytest.fixture
def job(work, tmp_path, repository):
    def make(*overrides, out="out"):
        folders = [f"predict.model={work}/model", f"predict.out={tmp_path}/{out}"]
        cfg = composed(repository, *folders, "predict.batch_size=2", *overrides)
        return PredictionJob(cfg.predict, find_images(work / "photos"))

    return make


def contents(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.slow
def test_a_killed_job_resumes_and_other_settings_begin_anew(job, tmp_path, monkeypatch, caplog):
    assert job(out="whole").run() == 5
    keep = UnfinishedFolder.keep

    def killed(folder, batch, outcomes):
        if batch.start == 2:
            raise KeyboardInterrupt
        keep(folder, batch, outcomes)

    monkeypatch.setattr(UnfinishedFolder, "keep", killed)
    with pytest.raises(KeyboardInterrupt):
        job("predict.workers=1").run()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.maskmill", "whole"]
    monkeypatch.undo()
    with caplog.at_level("INFO"):
        job("predict.workers=2").run()
    # The third batch may have begun before the second one was killed.
    assert re.search(r"an earlier run was interrupted: [12] of 3 batches are done", caplog.text)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]
    caplog.clear()
    job("inference=tta").run()
    assert "interrupted" not in caplog.text
    assert contents(tmp_path / "out") != contents(tmp_path / "whole")


@pytest.mark.slow
def test_the_size_of_the_windows_is_among_the_settings(job, tmp_path):
    job("inference=sliding_window").run()
    settings = json.loads((tmp_path / "out/prediction.json").read_text())["settings"]
    assert settings["inference"]["window"] == [32, 64]


@pytest.mark.slow
def test_overlays_are_drawn_over_the_images(job, tmp_path, work):
    job("predict.overlays=true", "output=labels").run()
    names = {name.split("/")[0] for name in contents(tmp_path / "out")}
    assert names == {"semantic", "instances", "overlays", "labels.json", "prediction.json", MARK}
    for number, size in enumerate(SIZES):
        picture = cv2.imread(str(tmp_path / f"out/overlays/{number}.jpg"))
        assert picture.shape == (*size, 3)
        semantic = cv2.imread(str(tmp_path / f"out/semantic/{number}.png"), cv2.IMREAD_UNCHANGED)
        photo = cv2.imread(str(work / f"photos/{number}.png"))
        for category in CATEGORIES:
            inside = cv2.erode((semantic == category.id).astype(np.uint8), np.ones((5, 5))) > 0
            expected = 0.45 * photo[inside] + 0.55 * np.array(category.color[::-1])
            if inside.any():
                assert np.abs(picture[inside] - expected).mean() < 12  # JPEG


@pytest.mark.slow
def test_two_processes_write_the_bytes_of_one(job, tmp_path):
    job(out="one").run()
    assert job("predict.processes=2", out="two").run() == 5
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.slow
def test_a_model_in_python_predicts_what_the_command_writes(job, tmp_path, work):
    job().run()
    model = load_model(work / "model")
    assert model.categories == CATEGORIES
    paths = sorted((work / "photos").iterdir())
    split = PanopticFolder(tmp_path / "out")
    for number, prediction in enumerate(model(paths, batch_size=2), start=1):
        panoptic = split.panoptic(number)
        assert np.array_equal(prediction.panoptic.ids, panoptic.ids)
        scores = [segment.score for segment in prediction.panoptic.segments]
        assert scores == [segment.score for segment in panoptic.segments]
    origin = json.loads((tmp_path / "out/prediction.json").read_text())
    assert list(origin["settings"]) == ["inference", "postprocess"]
    assert list(origin["images"]) == [path.name for path in paths]
    rgb = cv2.cvtColor(cv2.imread(str(paths[0])), cv2.COLOR_BGR2RGB)
    assert np.array_equal(model(rgb).semantic, model(str(paths[0])).semantic)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("gone.png", r"gone\.png: expected an image, but there is no such file"),
        (
            np.zeros((3, 4), np.uint8),
            r"image \(H, W, 3\) of uint8 in RGB, but got \(3, 4\) of uint8",
        ),
        (np.zeros((3, 4, 3)), r"got \(3, 4, 3\) of float64 - convert it, or give the name"),
    ],
)
def test_what_is_no_image_is_refused(work, image, message):
    with pytest.raises((ValueError, OSError), match=message):
        load_model(work / "model")(image)


def test_the_package_is_light_until_a_model_is_loaded(repository):
    code = "import sys, maskmill; print('torch' in sys.modules, 'load_model' in dir(maskmill))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False True\n"
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        from maskmill import nothing  # noqa: F401
