"""The best setting of a sweep as a file of conf/experiment/."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from maskmill.assembly.conf_search_path import packaged_conf, register_search_path
from maskmill.assembly.experiment_file import experiment_text, write_experiment

GROUPS = ["network", "experiment", "augment"]
DECISIVE = ("data", "augment", "network", "task", "loss", "optimizer", "trainer", "callbacks")


def write(name, *overrides):
    return write_experiment(name, overrides, groups=GROUPS, reason=["Because."])


def composed(*overrides):
    register_search_path()
    with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
        cfg = compose("config", list(overrides))
    return {key: OmegaConf.to_container(cfg[key], resolve=True) for key in DECISIVE}


@pytest.mark.slow
def test_the_file_composes_to_what_the_overrides_compose_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overrides = [
        *("experiment=sweep_lr", "network=unet", "augment=none", "optimizer.lr=1e-5"),
        *(
            "data.crop_size=[32,64]",
            "+trainer.limit_val_batches=2",
            "tracking.run_name='a b'",
            "train.once=true",
        ),
    ]
    path = write("best", *overrides)
    assert str(path) == "conf/experiment/best.yaml"
    assert composed("experiment=best") == composed(*overrides)
    assert "once" not in path.read_text()  # where a job writes is not its setting


def test_no_file_is_overwritten_and_the_same_setting_has_one_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [write("best", f"optimizer.lr={lr}").stem for lr in (0.1, 0.2, 0.1, 0.2)]
    assert names == ["best", "best_2", "best", "best_2"]
    assert write("scenes_panoptic", "optimizer.lr=1").stem == "scenes_panoptic_2"  # a packaged one


@pytest.mark.parametrize("removed", ["~callbacks.pictures", "~augment"])
def test_what_a_file_cannot_remove_is_said_in_it(removed):
    text = experiment_text([removed], groups=GROUPS, reason=[])
    assert f"add {removed} to the command" in text
