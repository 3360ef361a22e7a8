"""Every file under conf/ fits the constructor it names."""

import inspect
from pathlib import Path

import pytest
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


FILES = sorted(path for path in CONF.glob("*/*.yaml") if path.parent.name != "experiment")


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


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(CONF.glob("experiment/*.yaml")), ids=lambda path: path.stem)
def test_every_experiment_composes(path, monkeypatch):
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [f"experiment={path.stem}"])
    resolved = OmegaConf.to_container(cfg, resolve=True)
    assert set(resolved["stages"]["train"]) <= set(resolved)
    assert get_class(resolved["task"]["_target_"])
