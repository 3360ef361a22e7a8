"""`maskmill config`: the composed configuration with the file of each value."""

import sys

import pytest
import yaml

from maskmill.stages import config


@pytest.fixture
def printed(tmp_path, monkeypatch, capfd):
    """Runs the command in a project with an experiment of its own; returns what it prints."""
    (tmp_path / "conf/experiment").mkdir(parents=True)
    own = "# @package _global_\noptimizer: {weight_decay: 0.1}\n"
    (tmp_path / "conf/experiment/own.yaml").write_text(own)
    (tmp_path / "params.yaml").write_text("group: {network: unet}\nset: {optimizer: {lr: 1e-3}}\n")
    monkeypatch.chdir(tmp_path)

    def run(*overrides):
        monkeypatch.setattr(sys, "argv", ["config", *overrides])
        config.main()
        return capfd.readouterr().out

    return run


def origins(text):
    """First word of a line -> its comment."""
    commented = [line.split("  # ") for line in text.splitlines() if "  # " in line]
    return {line.strip().partition(":")[0]: origin for line, origin in commented}


@pytest.mark.slow
def test_each_value_has_its_file_or_the_line(printed):
    text = printed("experiment=own", "optimizer.lr=3e-4", "config.group=optimizer")
    assert yaml.safe_load(text)["optimizer"]["weight_decay"] == 0.1
    assert origins(text) == {
        "_target_": "maskmill/conf/optimizer/adamw.yaml",
        "_partial_": "maskmill/conf/optimizer/adamw.yaml",
        "lr": "command line",
        "weight_decay": "conf/experiment/own.yaml",
        "fused": "maskmill/conf/optimizer/adamw.yaml",
    }


@pytest.mark.slow
def test_the_configuration_of_the_pipeline_names_params_yaml(printed):
    task = printed("config.params=params.yaml", "config.group=task")
    assert yaml.safe_load(task)["task"]["_target_"].endswith(".SemanticTask")  # brought by unet
    optimizer = printed("config.params=params.yaml", "config.group=optimizer")
    assert yaml.safe_load(optimizer)["optimizer"]["lr"] == 0.001
    assert origins(optimizer)["lr"] == "params.yaml"


@pytest.mark.slow
def test_an_interpolation_is_shown_with_its_value(printed):
    text = printed("seed=5", "config.group=data")
    assert "seed: '${seed}'" in text
    assert origins(text)["seed"] == "maskmill/conf/data/default.yaml = 5"
    assert origins(text)["crop_size"] == "maskmill/conf/data/default.yaml = [96, 160]"


@pytest.mark.slow
def test_overrides_beside_params_yaml_are_refused(printed, capfd):
    with pytest.raises(SystemExit):
        printed("config.params=params.yaml", "seed=5")
    output = "".join(capfd.readouterr())
    assert "expected no other overrides, but got seed=5 - put them into params.yaml" in output
