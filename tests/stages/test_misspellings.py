"""Misspelt and impossible settings, on the line, in params.yaml and in a project's conf/.

Each answer names the fix. `test_mistakes.py` has mistakes of other kinds.
"""

import logging
import sys

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from maskmill.stages import cli

GLOBAL = "# @package _global_\n"


def own(text):
    return {"conf/experiment/own.yaml": text, "params.yaml": "group: {experiment: own}"}


def params(text):
    return {"params.yaml": text}


# id: (command line, files of the project, the fix)
CASES = {
    # the line
    "command": ("trian", {}, "(perhaps train)"),
    "group": ("train netwrok=unet", {}, "(perhaps network=unet)"),
    "other word for a group": ("train model=unet", {}, "(perhaps network=unet)"),
    "choice": ("train network=unett", {}, "(perhaps unet)"),
    "choice in capitals": ("train network=U-Net", {}, "(perhaps unet)"),
    "choice of another group": ("train network=resnet18", {}, "(perhaps encoder=resnet18)"),
    "experiment": ("train experiment=scenes_sematic", {}, "(perhaps scenes_semantic)"),
    "key": ("train optimizer.lrr=3", {}, "(perhaps optimizer.lr)"),
    "key without its group": ("train max_epochs=3", {}, "(perhaps trainer.max_epochs)"),
    "key of a misspelt group": ("train optim.lr=1e-3", {}, "(perhaps optimizer.lr)"),
    "part of a key": ("train trainer.epochs=3", {}, "(perhaps trainer.max_epochs)"),
    "key without underscore": ("train data.batchsize=4", {}, "(perhaps data.batch_size)"),
    "key of a nested node": (
        "train task.postproces.threshold=0.2",
        {},
        "(perhaps task.postprocess.threshold)",
    ),
    "flag": ("train --max-epochs=3", {}, "(perhaps trainer.max_epochs)"),
    "flag for a choice": ("train --network=unet", {}, "(perhaps network=unet)"),
    "launcher": ("train -m hydra/launcher=joblibb", {}, "(perhaps joblib)"),
    "sweep without -m": ("train optimizer.lr=1e-3,1e-4", {}, "add -m to run a sweep"),
    "value of a type": ("draw draw.num_train=many", {}, "draw.num_train: expected int"),
    "word of a list": ("register register.metric=MIoU", {}, "(perhaps mIoU)"),
    # combinations, on the line
    "task of another network": ("train network=unet task=panoptic", {}, "task=semantic"),
    "loss of another network": (
        "train network=eomt loss=dice",
        {},
        "loss=mask_classification",
    ),
    "loss that leaves heads": ("train loss=dice", {}, "loss=panoptic_deeplab"),
    "loss without its head": (
        "train network=fpn loss=cross_entropy_auxiliary",
        {},
        "set network.auxiliary=true",
    ),
    "network of another experiment": (
        "train experiment=scenes_instance network=unet",
        {},
        "choose task=semantic",
    ),
    # params.yaml
    "group in params": ("compose", params("group: {netwrok: unet}"), "(perhaps network=unet)"),
    "choice in params": ("compose", params("group: {trainer: ddpcpu}"), "(perhaps ddp_cpu)"),
    "key in params": (
        "compose",
        params("set: {optimizer: {lrr: 3}}"),
        "write `set: {optimizer: {lr: ...}}`",
    ),
    "key without its group in params": (
        "compose",
        params("set: {max_epochs: 3}"),
        "write `set: {trainer: {max_epochs: ...}}`",
    ),
    "word at the top of params": ("compose", params("sets: {seed: 1}"), "write `set:` for `sets:`"),
    "truth value in params": (
        "compose",
        params("set: {train: {calibrate: flase}}"),
        "(perhaps false)",
    ),
    "task in params": (
        "compose",
        params("group: {network: mask2former, task: panoptic}"),
        "choose task=instance_masks | panoptic_masks | semantic_masks",
    ),
    # a project's conf/
    "folder": (
        "train network=mine",
        {"conf/netwrok/mine.yaml": "width: 3"},
        "move conf/netwrok/mine.yaml to conf/network/",
    ),
    "key at the top of an experiment": (
        "compose",
        own(GLOBAL + "optimizr: {lr: 1e-3}"),
        "write optimizer in the file",
    ),
    "key in an experiment": (
        "compose",
        own(GLOBAL + "evaluate: {num_exampels: 3}"),
        "(perhaps num_examples)",
    ),
    "value in an experiment": (
        "compose",
        own(GLOBAL + "evaluate: {num_examples: '3'}"),
        "evaluate.num_examples: expected int, but got '3' (str)",
    ),
    "group in an experiment": (
        "compose",
        own(GLOBAL + "defaults: [{override /netwrok: unet}]"),
        "(perhaps network)",
    ),
    "choice in an experiment": (
        "compose",
        own(GLOBAL + "defaults: [{override /network: unett}]"),
        "(perhaps unet)",
    ),
    "no override in an experiment": (
        "compose",
        own(GLOBAL + "defaults: [{/network: unet}]"),
        "`- override /network: unet`",
    ),
    "no package of an experiment": (
        "compose",
        own("optimizer: {lr: 1e-3}"),
        "begin the file with `# @package _global_`",
    ),
}


def test_there_are_at_least_thirty():
    assert len(CASES) >= 30


@pytest.fixture
def refused(tmp_path, monkeypatch, capfd):
    """Run a command line, which must end with an error; returns its output."""

    def run(line):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["maskmill", *line.split()])
        monkeypatch.setattr(logging.root, "handlers", [])  # of the test before
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code in {1, 2}
        output = "".join(capfd.readouterr())
        assert "Traceback" not in output
        assert "use +" not in output
        return output

    return run


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_answer_names_the_fix(case, tmp_path, refused):
    line, files, fix = CASES[case]
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert fix in refused(line)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choice", "package", "extra"),
    [
        ("hydra/launcher=joblib", None, "joblib"),
        ("hydra/launcher=submitit", "submitit", "slurm"),
        ("hydra/launcher=slurm", "submitit", "slurm"),
        ("hydra/launcher=ray", "ray", "ray"),
        ("hydra/sweeper=optuna", "optuna", "optuna"),
    ],
)
@pytest.mark.parametrize("command", ["train", "draw"])
def test_without_its_package_a_choice_names_the_extra(
    choice, package, extra, command, refused, monkeypatch
):
    Plugins.instance()  # those that are installed bring choices
    launchers = ConfigStore.instance().repo["hydra"]["launcher"]
    monkeypatch.delitem(launchers, "joblib.yaml")
    if package:
        monkeypatch.setitem(sys.modules, package, None)
    assert f"run pip install 'maskmill[{extra}]'" in refused(f"{command} -m {choice}")
