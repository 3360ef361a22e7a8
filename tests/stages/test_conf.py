"""Every file under conf/ fits the constructor it names."""

import inspect
import re
from pathlib import Path

import pytest
import yaml
from hydra.utils import get_class, get_object
from omegaconf import OmegaConf

CONF = Path(__file__).parents[2] / "conf"
# What a stage adds to the node of a group when it builds it, by group or by the key inside the
# group's file.
RUNTIME = {
    "network": {"num_classes"},
    "task": {"network", "loss", "postprocess", "categories", "optimizer", "scheduler"},
    "postprocess": {"categories"},
    "optimizer": {"params"},
    "scheduler": {"optimizer", "total_steps"},
    "data": {"augmentation"},
    "output": {"categories"},
}


def nodes(path):
    """Every constructor call in a file, with the name it goes by."""
    stack = [(path.parent.name, OmegaConf.to_container(OmegaConf.load(path)))]
    while stack:
        name, value = stack.pop()
        if isinstance(value, dict):
            if "_target_" in value:
                yield name, value
            stack += [(str(key), item) for key, item in value.items()]
        elif isinstance(value, list):
            stack += [(name, item) for item in value]


NO_CALLS = {"experiment", "sizes"}  # values of other groups
FILES = sorted(path for path in CONF.glob("*/*.yaml") if path.parent.name not in NO_CALLS)


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(CONF).as_posix())
def test_config_fits_constructor(path):
    inherits = "defaults" in OmegaConf.load(path)
    found = list(nodes(path))
    assert found or inherits, "a file of a group is a constructor call"
    for name, node in found:
        parameters = set(inspect.signature(get_object(node["_target_"])).parameters)
        written = {key for key in node if not key.startswith("_")} - {"defaults"}
        given = written | RUNTIME.get(name, set()) & parameters
        inspect.signature(get_object(node["_target_"])).bind(**dict.fromkeys(given))


@pytest.mark.parametrize(
    "path", sorted(CONF.glob("*/*.yaml")), ids=lambda path: path.relative_to(CONF).as_posix()
)
def test_config_begins_with_its_reason(path):
    first = [line for line in path.read_text().splitlines() if not line.startswith("# @package")][0]
    assert first.startswith("# ")
    assert len(first) > 20


SIZE_IN_PX = re.compile(r"\w*_px|nms_kernel|window|crop_size|size|offset_weight")
# Files that may have sizes of their own, and why
WITH_SIZES = {
    "loss/panoptic_deeplab_paper.yaml": "arXiv:1911.10194",  # the paper's sizes
    "serve/default.yaml": "HTTP",  # a limit on what a client may send
}


def sizes_in_px(value, key=""):
    """The keys of sizes that are written as numbers other than 0, at any depth."""
    if isinstance(value, dict):
        inner = [(str(name), item) for name, item in value.items()]
    elif isinstance(value, list):
        inner = [(key, item) for item in value]
    else:
        is_number = isinstance(value, int | float) and value != 0
        return {key} if is_number and SIZE_IN_PX.fullmatch(key) else set()
    return set().union(*(sizes_in_px(item, name) for name, item in inner))


def test_only_the_group_sizes_has_sizes_in_px():
    found = {}
    for path in FILES:
        content = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
        found[path.relative_to(CONF).as_posix()] = sizes_in_px(content)
    assert {name for name, keys in found.items() if keys} == WITH_SIZES.keys()
    for name, reason in WITH_SIZES.items():
        assert reason in (CONF / name).read_text().partition("_target_")[0]


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(CONF.glob("experiment/*.yaml")), ids=lambda path: path.stem)
def test_every_experiment_composes(path, monkeypatch):
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [f"experiment={path.stem}"])
    resolved = OmegaConf.to_container(cfg, resolve=True)
    assert set(resolved["stages"]["train"]) <= set(resolved)
    assert get_class(resolved["task"]["_target_"])
