"""The allow-list: what this package names, and what a project adds in conf/targets.yaml."""

import pytest
from omegaconf import OmegaConf

from maskmill.assembly.build import build
from maskmill.assembly.targets import (
    NetworkTargets,
    packaged_targets,
    read_project_targets,
)
from maskmill.serving.description import PostprocessTargets

OWN = """
import os
from os import system
from maskmill.losses.semantic import Focal as Loss

class Net:
    def __init__(self, width=3):
        self.width = width
"""


@pytest.fixture
def own(project, monkeypatch):
    """A project with a package `street_own` that lists it, in full or in part."""
    package = project / "street_own"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "nets.py").write_text(OWN)
    monkeypatch.syspath_prepend(project)

    def write_list(text):
        (project / "conf").mkdir(exist_ok=True)
        (project / "conf/targets.yaml").write_text(text)

    return write_list


def built(target, **values):
    return build(OmegaConf.create({"part": {"_target_": target, **values}}).part, object)


def targets_in(value):
    """Every `_target_` in a value, at any depth."""
    if isinstance(value, dict):
        own = {value["_target_"]} if "_target_" in value else set()
        return own.union(*map(targets_in, value.values()))
    return set().union(*map(targets_in, value)) if isinstance(value, list) else set()


def targets_of(repository, pattern):
    files = map(OmegaConf.load, repository.glob(pattern))
    return targets_in([OmegaConf.to_container(content) for content in files])


@pytest.mark.slow
def test_the_allow_list_is_what_conf_names(repository):
    of_samplers = targets_of(repository, "conf/hydra/sweeper/*/*.yaml")  # Hydra loads its plugins
    assert packaged_targets() == targets_of(repository, "conf/*/*.yaml") | of_samplers
    networks = targets_of(repository, "conf/network/*") | targets_of(repository, "conf/encoder/*")
    assert packaged_targets("network", "encoder") == networks
    assert len(networks) == 19


def test_every_post_processing_that_conf_names_is_allowed_in_a_model(repository):
    parts = targets_of(repository, "conf/task/*.yaml")
    parts = {name for name in parts if ".postprocess." in name}
    assert [PostprocessTargets().find(name).__name__ for name in sorted(parts)] == [
        "PanopticMasks",
        "SemanticMasks",
        "PanopticGrouping",
        "SemanticSegments",
    ]


@pytest.mark.parametrize("entry", ["street_own", "street_own.nets", "street_own.nets.Net"])
def test_code_that_the_project_lists_is_built(own, entry):
    own(f"configuration: [{entry}]")
    assert built("street_own.nets.Net", width=5).width == 5


@pytest.mark.parametrize("target", ["street_own.nets.system", "street_own.nets.Loss"])
def test_what_a_listed_module_imports_is_not_listed(own, target):
    own("configuration: [street_own]")
    with pytest.raises(ValueError, match=rf"'{target}' is defined in (posix|maskmill.*) - list "):
        built(target)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("street_own.nets.os.system", "got: No module named 'street_own.nets.os'"),
        ("street_own.nets.Missing", "has no attribute 'Missing' - check its spelling"),
        ("street_own.missing.Net", "No module named 'street_own.missing' - check its spelling"),
        ("street_own.nets", "is a module - name a constructor"),
        ("street_ownership.Net", "got 'street_ownership.Net' - if you have read that code"),
        ("maskmill.losses.semantic.Fokal", "did you mean 'maskmill.losses.semantic.Focal'?"),
        ("torch.optim.Adamw", "did you mean 'torch.optim.AdamW'"),
    ],
)
def test_a_target_that_cannot_be_built_says_why(own, target, message):
    own("configuration: [street_own]")
    with pytest.raises(ValueError, match=message):
        built(target)


def test_a_model_may_name_what_is_listed_for_models_alone(own):
    own("configuration: [street_own]\nmodels: [street_own.nets.Net]")
    assert NetworkTargets().find("street_own.nets.Net").__name__ == "Net"
    own("configuration: [street_own]")
    with pytest.raises(ValueError, match=r"must not name - .*under `models:` in conf/targets.yaml"):
        NetworkTargets().check("street_own.nets.Net")


def test_an_optimizer_is_no_network():
    with pytest.raises(ValueError, match=r"expected a network of maskmill, but got 'torch\.optim"):
        NetworkTargets().check("torch.optim.AdamW")


@pytest.mark.parametrize(
    "text",
    [
        "[a]",
        "configuration: a",
        "configuration: [3]",
        "configuration: ['a b']",
        "other: [a]",
        "models: [{a: b}]",
        "models: ['a.']",
    ],
)
def test_a_list_of_another_form_is_named(own, text):
    own(text)
    with pytest.raises(ValueError, match=r"conf/targets\.yaml: expected `configuration:` and"):
        read_project_targets()


def test_a_project_without_a_list_allows_nothing_more(project):
    assert read_project_targets().configuration == []
