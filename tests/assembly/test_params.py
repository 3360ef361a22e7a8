"""params.yaml: which keys it lists, and what `dvc exp run -S` makes of them."""

import shutil
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from omegaconf import OmegaConf

from maskmill.assembly.composition import read_params, set_values

REPOSITORY = Path(__file__).parents[2]
CONF = REPOSITORY / "conf"
CHOSEN_FOR_A_STAGE = ("sizes", "encoder", "class_weights", "inference", "output")  # interpolated


def is_call(node):
    """Is it a constructor call, or does it contain one? Other mappings are data, set as a whole."""
    return isinstance(node, dict) and ("_target_" in node or any(map(is_call, node.values())))


def add_keys(node, keys):
    """Add the keys of a configuration file; the value of a constructor call is its own keys."""
    for key, value in node.items():
        if key in {"defaults", "_target_", "_partial_"}:
            continue
        keys.setdefault(key, None)
        if is_call(value) and value.keys() - {"_target_", "_partial_"}:
            keys[key] = keys[key] or {}
            add_keys(value, keys[key])


@pytest.fixture(scope="module")
def configuration():
    """Group -> the keys of all its choices, for the groups that the pipeline's stages read."""
    config = yaml.safe_load((CONF / "config.yaml").read_text())
    groups = {*CHOSEN_FOR_A_STAGE}.union(*config["stages"].values())
    keys = {key: None for key in config if key in {"seed", "out"}}
    for group in groups & {folder.name for folder in CONF.iterdir()}:
        keys[group] = {}
        for path in (CONF / group).glob("*.yaml"):
            add_keys(yaml.safe_load(path.read_text()) or {}, keys[group])
    return keys


def dotted(keys, prefix=""):
    """The dotted names of the keys that have no keys of their own."""
    names = set()
    for key, inner in keys.items():
        is_group = isinstance(inner, dict)
        names |= dotted(inner, f"{prefix}{key}.") if is_group else {f"{prefix}{key}"}
    return names


def listed(key):
    return dotted(yaml.safe_load((REPOSITORY / "params.yaml").read_text())[key])


def test_every_key_of_the_configuration_is_listed_and_no_other(configuration):
    expected = dotted(configuration)
    assert expected - listed("set") == set(), "add to params.yaml and project_files/params.yaml"
    assert listed("set") - expected == set(), "remove from params.yaml and from project_files/"
    assert len(expected) > 200


def test_every_group_is_listed(configuration):
    assert listed("group") | {"seed", "out"} == configuration.keys() | {"experiment"}


@pytest.fixture
def params(tmp_path):
    return Path(shutil.copy(REPOSITORY / "params.yaml", tmp_path / "params.yaml"))


def test_each_key_is_set_from_the_line_without_a_plus(params):
    names = sorted(listed("set"))
    apply_overrides(params, [f"set.{name}={index}" for index, name in enumerate(names)])
    changed = yaml.safe_load(params.read_text())["set"]
    for index, name in enumerate(names):
        node = changed
        for key in name.split("."):
            node = node[key]
        assert node == index, name


def test_the_line_changes_values_and_choices_and_nothing_else(params):
    line = ["set.optimizer.lr=1e-3", "group.augment=none", "set.data.crop_size=null"]
    assert read_params(params) == ({"experiment": "scenes_panoptic"}, {})
    apply_overrides(params, line)
    groups, values = read_params(params)
    assert groups == {"experiment": "scenes_panoptic", "augment": "none"}
    assert values == {"optimizer": {"lr": 0.001}, "data": {"crop_size": None}}


def test_dvc_rewrites_only_the_lines_of_a_changed_key(params):
    before = params.read_text().splitlines()
    apply_overrides(params, ["set.optimizer.lr=1e-3", "group.network=unet"])
    after = params.read_text().splitlines()
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [
        "  network: unet",
        "  optimizer: {lr: 0.001, weight_decay: _, fused: _, momentum: _, nesterov: _}",
    ]


NAMES = ["traffic light", "tv/monitor", "Straße", "a.b", r"a\b", r"\d\\", "#1", "a-b", "x@y$z"]


def test_class_names_are_those_on_the_line(params):
    """Hydra's grammar has no quotes in keys, so a mapping with such keys is text in quotes."""
    classes = {name: name for name in NAMES}
    text = yaml.safe_dump(classes, allow_unicode=True, default_flow_style=True, width=1000).strip()
    escaped = text.replace("'", r"\'")
    apply_overrides(params, [f"set.prepare.classes='{escaped}'", 'set.register.name="Straße 1"'])
    cfg = OmegaConf.create({"prepare": {"classes": {}}, "register": {"name": "maskmill"}})
    set_values(cfg, read_params(params)[1])
    assert cfg == {"prepare": {"classes": classes}, "register": {"name": "Straße 1"}}


@pytest.mark.parametrize("text", ["{a:b", "{a", "{: :}{"])
def test_a_mapping_that_is_no_yaml_is_refused_by_name(text):
    values = OmegaConf.create({"prepare": {"classes": text}})
    with pytest.raises(ValueError, match=r"prepare\.classes: expected a mapping, but got \{"):
        set_values(OmegaConf.create({"prepare": {"classes": {}}}), values)
