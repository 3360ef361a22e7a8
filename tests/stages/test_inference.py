"""Every file of conf/inference, as the stage `predict` builds it, with a real network."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn

from maskmill.assembly.build import build
from maskmill.assembly.model_loading import load_model
from maskmill.assembly.settings import PredictSettings
from maskmill.canonical.files import read_json, write_json
from maskmill.postprocess.stitched_windows import StitchedWindows
from maskmill.serving.model_files import write_model
from strategies import CATEGORIES

CONF = Path(__file__).parents[2] / "conf"
WAYS = sorted(path.stem for path in CONF.glob("inference/*.yaml"))
WINDOWS = [way for way in WAYS if "window" in way]
CROP = (64, 96)  # of the training


def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder as `train` writes it for each task, with random weights."""
    folders = {}
    for task, network in (("semantic", "fpn"), ("panoptic", "panoptic_deeplab")):
        torch.manual_seed(0)
        cfg = composed(f"task={task}", f"network={network}")
        weights = build(cfg.network, nn.Module, num_classes=CATEGORIES.num_outputs).state_dict()
        config = {
            name: OmegaConf.to_container(cfg[name], resolve=True) for name in ("network", "task")
        }
        config["data"] = {"crop_size": list(CROP)}
        folders[task] = tmp_path_factory.mktemp(task)
        write_model(folders[task], weights, config, CATEGORIES, "digest")
    return folders


def photo(height, width):
    return np.random.default_rng(height).integers(0, 255, (height, width, 3), np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["semantic", "panoptic"])
@pytest.mark.parametrize("way", WAYS)
def test_any_size_comes_out_at_its_own_size(models, task, way):
    settings = build(composed(f"inference={way}").predict, PredictSettings)
    model = load_model(str(models[task]), device="cpu", inference=settings.inference)
    photos = [photo(97, 131), photo(97, 131), photo(50, 70)]
    predictions = list(model.predictor(photos, batch_size=2))
    assert [prediction.panoptic.size for prediction in predictions] == [
        each.shape[:2] for each in photos
    ]
    assert [prediction.semantic.shape for prediction in predictions] == [
        each.shape[:2] for each in photos
    ]
    for prediction in predictions:
        assert set(np.unique(prediction.semantic)) <= set(CATEGORIES.ids.tolist())


def windows(folder, *overrides):
    """The size of the windows in which a model predicts."""
    settings = build(composed(*overrides).predict, PredictSettings)
    model = load_model(str(folder), device="cpu", inference=settings.inference)
    return model.predictor.inference.tiling.window


@pytest.mark.slow
@pytest.mark.parametrize("way", WINDOWS)
def test_windows_have_the_size_of_the_training_crops_unless_another_is_set(models, way):
    assert windows(models["semantic"], f"inference={way}") == CROP
    assert windows(models["semantic"], f"inference={way}", "inference.window=[32,64]") == (32, 64)


@pytest.mark.slow
@pytest.mark.parametrize("data", [None, {"crop_size": 64}, {"crop_size": [64, 0]}, [64, 64]])
def test_a_model_that_does_not_say_the_size_of_its_crops_needs_one_for_windows(
    models, tmp_path, data
):
    shutil.copytree(models["semantic"], tmp_path, dirs_exist_ok=True)
    description = read_json(tmp_path / "model.json")
    description["config"]["data"] = data
    write_json(tmp_path / "model.json", description)
    with pytest.raises(ValueError, match=r"model.json: expected .* crops .* set inference.window"):
        windows(tmp_path, "inference=sliding_window")


@pytest.mark.slow
def test_values_of_the_postprocess_can_be_replaced(models):
    photos = [photo(97, 131)]
    settings = build(
        composed("+predict.postprocess.top_k=1", "+predict.postprocess.threshold=0.0").predict,
        PredictSettings,
    )
    many = load_model(str(models["panoptic"]), device="cpu", postprocess={"threshold": 0.0})
    one = load_model(str(models["panoptic"]), device="cpu", postprocess=settings.postprocess)
    assert many.predictor.postprocess.top_k == 200
    assert one.predictor.postprocess.top_k == 1
    things = [
        s
        for s in next(one.predictor(photos)).panoptic.segments
        if CATEGORIES[s.category_id].isthing
    ]
    assert len(things) <= 1


def test_a_value_the_postprocess_does_not_have_is_refused(models):
    with pytest.raises(
        ValueError,
        match=r"predict\.postprocess\.topk: .*PanopticGrouping has no argument 'topk', only "
        r".*top_k.* - correct the name",
    ):
        load_model(str(models["panoptic"]), device="cpu", postprocess={"topk": 1})


@pytest.mark.slow
def test_a_window_that_is_not_a_pair_of_integers_is_refused():
    with pytest.raises(
        ValueError, match=r"predict.inference.window: expected .* set another value"
    ):
        build(
            composed("inference=stitched_windows", "inference.window=[64.5,64]").predict,
            PredictSettings,
        )
    assert isinstance(
        build(composed("inference=stitched_windows").predict, PredictSettings).inference,
        StitchedWindows,
    )
