import pytest
from omegaconf import OmegaConf

from maskmill.assembly.chosen import keep_choices, leaf_keys, run_parameters

CHOICES = {"network": "unet", "loss": "dice", "source": "camvid", "hydra/launcher": "basic"}


@pytest.fixture
def cfg():
    return OmegaConf.create(
        {
            "stages": {"train": ["seed", "network", "loss", "tracking", "train"]},
            "tracking": {"params": {"lr": "optimizer.lr"}, "choices": {}},
        }
    )


@pytest.mark.parametrize(
    ("changed", "added"),
    [
        pytest.param(["network.width"], {"network.width": "network.width"}, id="a value"),
        pytest.param(["encoder.name"], {"network.encoder.name": "network.encoder.name"}, id="part"),
        pytest.param(["optimizer.lr"], {}, id="shown under a name of its own"),
        pytest.param(["train.once", "evaluate.void"], {}, id="decides no result"),
        pytest.param(["network", "seed"], {}, id="a choice"),
    ],
)
def test_choices_and_changed_values_become_parameters(cfg, changed, added):
    keep_choices(cfg, CHOICES, changed)
    assert cfg.tracking.choices == {"network": "unet", "loss": "dice"}
    assert cfg.tracking.params == {"lr": "optimizer.lr"} | added


def test_a_configuration_resolved_before_keeps_its_choices(cfg):
    del cfg["stages"]
    keep_choices(cfg, CHOICES, ["network.width"])
    assert cfg.tracking.choices == {}


def test_the_keys_of_nested_values_are_dotted():
    values = {"network": {"+width": 3, "decoder": {}}, "seed": 1, "augment": {"transforms": [1]}}
    keys = ["network.width", "network.decoder", "seed", "augment.transforms"]
    assert list(leaf_keys(values)) == keys


def test_parameters_are_names_of_files_or_classes_before_values():
    config = {"network": {"_target_": "a.b.UNet"}, "loss": {"_target_": "a.Dice"}}
    values = {"optimizer.lr": "0.1", "data.crop_size": "[96, 160]"}
    shown = {"lr": "optimizer.lr", "crop_size": "data.crop_size", "encoder": "network.encoder.name"}
    params = run_parameters(config, values, {"loss": "dice"}, shown)
    assert list(params.items()) == [
        ("network", "UNet"),
        ("loss", "dice"),
        ("lr", "0.1"),
        ("crop_size", "96, 160"),
    ]
