"""The reference has a page for every choice of conf/ and every public name; see `make docs`."""

import re

import pytest
import yaml
from docs.reference_pages import CONF, LISTED, group_pages, package_pages

import maskmill
import maskmill.metrics

DIRECTIVE = re.compile(r"^\.\. auto(?:class|function):: ([\w.]+)$", re.MULTILINE)
CHOICE = re.compile(r"^## (\S+)=(\S+)\n\n(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def documented():
    return set(DIRECTIVE.findall("\n".join(package_pages().values())))


def constructors(value):
    """Every `_target_` of this package in a value of a YAML file."""
    if isinstance(value, dict):
        target = value.get("_target_", "")
        inner = [constructors(item) for item in value.values()]
        return {target}.union(*inner) if target.startswith("maskmill.") else set().union(*inner)
    if isinstance(value, list):
        return set().union(*map(constructors, value))
    return set()


@pytest.mark.parametrize("package", LISTED)
def test_public_names_are_documented(package, documented):
    names = {"maskmill": maskmill, "maskmill.metrics": maskmill.metrics}[package].__all__
    missing = {f"{package}.{name}" for name in names} - documented
    assert missing <= {"maskmill.__version__"}


def test_constructors_that_conf_names_are_documented(documented):
    files = [yaml.safe_load(path.read_text()) for path in CONF.rglob("*.yaml")]
    targets = set().union(*map(constructors, files))
    assert len(targets) > 80
    assert targets - documented == set()


def test_every_choice_has_its_reason_and_its_values():
    pages = group_pages()
    shown = {}
    for page in pages.values():
        for group, choice, text in CHOICE.findall(page):
            reason, _, block = text.partition("```yaml\n")
            assert len(reason.strip()) > 10, f"{group}={choice}"
            shown[group, choice] = yaml.safe_load(block.partition("```")[0])
    files = [path for path in CONF.rglob("*.yaml") if path.parent != CONF]
    assert len(shown) == len(files)
    for path in files:
        group = path.parent.relative_to(CONF).as_posix()
        assert shown[group, path.stem] == yaml.safe_load(path.read_text())


def test_the_default_of_each_group_is_marked():
    lines = yaml.safe_load((CONF / "config.yaml").read_text())["defaults"]
    choices = [pair for line in lines if isinstance(line, dict) for pair in line.items()]
    marked = [
        (group, choice)
        for page in group_pages().values()
        for group, choice, text in CHOICE.findall(page)
        if "\nThe default.\n" in text
    ]
    assert sorted(marked) == sorted(
        pair for pair in choices if (CONF / pair[0]).is_dir() and pair[1]
    )
