"""Compositions are the same with the shorter way through defaults lists."""

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal import defaults_list

from maskmill.assembly import lean_defaults
from maskmill.assembly.conf_search_path import packaged_conf

FILES = {
    "top.yaml": "defaults: [size: small, colour: red, 'size_colour@both': '${size}_${colour}']\n",
    "size/small.yaml": "px: 1\n",
    "size/large.yaml": "px: 2\n",
    "colour/red.yaml": "hue: 0\n",
    "size_colour/small_red.yaml": "name: small and red\n",
    "size_colour/large_red.yaml": "name: large and red\n",
}


def composed(folder, name, overrides, monkeypatch, *, is_lean):
    with monkeypatch.context() as patch:
        patch.setattr(defaults_list, lean_defaults.LIST_CHOICES, LISTS[is_lean])
        with initialize_config_dir(str(folder), version_base="1.3"):
            return compose(name, overrides, return_hydra_config=True)


def lists():
    """Hydra's function, and the one that replaces it."""
    lean = getattr(defaults_list, lean_defaults.LIST_CHOICES)  # see conftest
    assert lean.__module__ == lean_defaults.__name__
    (closure,) = [cell.cell_contents for cell in lean.__closure__]
    return {False: closure, True: lean}


LISTS = lists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [[], ["network=mask2former", "task=panoptic_masks"], ["experiment=camvid_semantic"]],
    ids=["defaults", "choices", "experiment"],
)
def test_the_packaged_configuration_is_the_same(overrides, monkeypatch):
    whole = composed(packaged_conf(), "config", overrides, monkeypatch, is_lean=False)
    assert composed(packaged_conf(), "config", overrides, monkeypatch, is_lean=True) == whole


def test_a_default_that_refers_to_other_choices_is_resolved(tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    cfg = composed(tmp_path, "top", ["size=large"], monkeypatch, is_lean=True)
    whole = composed(tmp_path, "top", ["size=large"], monkeypatch, is_lean=False)
    assert cfg.both.name == whole.both.name == "large and red"
    assert cfg.hydra.runtime.choices == whole.hydra.runtime.choices


def test_calling_it_again_changes_nothing():
    lean_defaults.list_choices_where_needed()
    assert getattr(defaults_list, lean_defaults.LIST_CHOICES) is LISTS[True]
