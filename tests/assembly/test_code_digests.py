import ast
import shutil

import pytest

from maskmill.assembly import code_digests as module
from maskmill.assembly.code_digests import (
    _code_only,
    code_digests,
    import_closure,
    run_time_nodes,
    source_files,
    target_modules,
)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package whose files may be edited; nothing of it is imported."""
    root = tmp_path / "maskmill"
    shutil.copytree(module.ROOT, root, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "ROOT", root)
    module._read.cache_clear()
    yield root
    module._read.cache_clear()


def edited(package, name, old, new):
    """The modules of the train stage whose digest an edit changes."""
    before = code_digests(["maskmill.stages.train"])
    path = package / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    module._read.cache_clear()
    after = code_digests(["maskmill.stages.train"])
    return {key for key in {*before, *after} if before.get(key) != after.get(key)}


@pytest.mark.slow
def test_imports_inside_functions_and_names_in_strings_count():
    closure = import_closure(["maskmill.stages.train"])
    assert "maskmill.assembly.training_job" in closure  # imported in a function
    assert "maskmill.stages.train_worker" in closure  # started by its name


def test_a_name_that_a_package_exports_lazily_leads_to_its_module():
    closure = import_closure(["maskmill.tasks.scores"])
    assert "maskmill.metrics.panoptic_quality" in closure
    assert "maskmill.metrics.mask_ap" not in closure


def test_imports_for_type_checkers_do_not_count():
    assert not any("reporting" in name for name in import_closure(["maskmill.canonical.folder"]))


def test_a_configuration_names_modules_at_any_depth():
    node = {
        "_target_": "maskmill.networks.panoptic_deeplab.PanopticDeepLab",
        "parts": [{"encoder": {"_target_": "maskmill.networks.encoders.TimmEncoder"}}],
        "other": {"_target_": "torch.optim.AdamW"},
    }
    expected = {"maskmill.networks.panoptic_deeplab", "maskmill.networks.encoders"}
    assert target_modules(node) == expected


@pytest.mark.parametrize("target", ["maskmill.nowhere.Class", "maskmill.losses.nowhere.Loss"])
def test_a_target_that_does_not_exist_is_named(target):
    with pytest.raises(ValueError, match=f"there is no '{target}' - check `_target_`"):
        target_modules({"_target_": target})


@pytest.mark.slow
def test_a_changed_statement_changes_the_digest_of_its_module_alone(package):
    changed = edited(
        package, "training/launching.py", "128 + signal.SIGTERM", "129 + signal.SIGTERM"
    )
    assert changed == {"maskmill.training.launching"}


@pytest.mark.slow
def test_no_training_depends_on_the_search_that_it_is_a_trial_of():
    """Each `edited` file would make the default train again."""
    closure = import_closure(["maskmill.stages.train"])
    search = ("search", "search_trial", "search_settings", "search_space", "study", "latency")
    assert not {f"maskmill.assembly.{name}" for name in search} & closure
    assert not [name for name in closure if "hydra_plugins" in name or name.endswith("callback")]


@pytest.mark.slow
def test_comments_and_docstrings_change_nothing(package):
    assert not edited(
        package, "training/launching.py", "import ctypes", "# why\nimport ctypes  # C\n"
    )
    assert not edited(package, "training/launching.py", '"""', '"""Another first line. ')


def test_code_on_the_line_of_a_docstring_counts():
    text = 'class Empty: "doc é"; value = 1\n'
    assert _code_only(text, run_time_nodes(ast.parse(text))) == "class Empty: ; value = 1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1  # one", "a = 1"),
        ("a = '#' # one", "a = '#'"),
        (r"a = '\'#'#", r"a = '\'#'"),
        ('a = """\n"# " # \n"""  # "', 'a = """\n"# " #\n"""'),
        ("a = ('#'  # '\n'b')", "a = ('#'\n'b')"),
    ],
)
def test_a_hash_in_a_string_is_no_comment(text, expected):
    assert _code_only(text, run_time_nodes(ast.parse(text))) == expected


def test_folders_within_the_data_of_a_module_are_read_too():
    files = source_files(["maskmill.serving.server.pages"])
    assert "serving/server/templates/container/Dockerfile.jinja" in files


def test_source_files_are_those_of_the_modules_and_their_packages():
    files = source_files(import_closure(["maskmill.canonical.files"]))
    modules = {"canonical/__init__.py", "canonical/files.py", "canonical/limits.py"}
    assert set(files) == {"__init__.py"} | modules  # files imports limits
    assert all(path.is_file() for path in files.values())
