"""dvc.yaml against the code, and a real `dvc repro` in a temporary repository."""

import functools
from pathlib import Path

import grimp
import pytest
import yaml
from hydra.utils import get_object
from omegaconf import OmegaConf

REPOSITORY = Path(__file__).parents[2]
SRC = REPOSITORY / "src"
STAGES = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
WITHIN = {
    "network": "encoder",
    "loss": "class_weights",
}  # groups whose choice stands inside another group's


@functools.cache
def graph():
    return grimp.build_graph("maskmill", cache_dir=None)


def targets(value):
    """Modules of ours that a configuration names, at any depth."""
    if isinstance(value, dict):
        if str(value.get("_target_", "")).startswith("maskmill."):
            yield get_object(value["_target_"]).__module__
        for item in value.values():
            yield from targets(item)
    elif isinstance(value, list):
        for item in value:
            yield from targets(item)


def configured(group, key=None):
    """Modules of ours that any choice of a group names, or only those below one of its keys."""
    for path in (REPOSITORY / "conf" / group).glob("*.yaml"):
        content = OmegaConf.to_container(OmegaConf.load(path))
        yield from targets(content if key is None else content.get(key))


def chosen_at_run_time(stage):
    """What a stage constructs without importing it by name: its groups, and what a model file names."""
    if stage in {"predict", "register"}:
        logged = (
            {"maskmill.serving.pyfunc_model"} if stage == "register" else set()
        )  # by its path: MLflow copies the file
        ways = {*configured("inference")} if stage == "predict" else set()
        return {
            *configured("network"),
            *configured("encoder"),
            *configured("task", "postprocess"),
            *ways,
            *logged,
        }
    groups = OmegaConf.load(REPOSITORY / "conf" / "config.yaml").stages.get(stage, [])
    within = [WITHIN[group] for group in groups if group in WITHIN]
    return {
        module
        for group in [*groups, *within]
        if (REPOSITORY / "conf" / group).is_dir()
        for module in configured(group)
    }


def imported(stage):
    """Source files a stage imports, directly or not; packages' own files hold nothing but their docstring."""
    modules = {f"maskmill.stages.{stage}", *chosen_at_run_time(stage)}
    everything = modules.union(*(graph().find_upstream_modules(module) for module in modules))
    paths = {SRC / Path(*module.split(".")).with_suffix(".py") for module in everything}
    return {path.relative_to(REPOSITORY).as_posix() for path in paths if path.is_file()}


def depended_on(stage):
    paths = [REPOSITORY / dep for dep in STAGES[stage]["deps"] if dep.startswith("src/")]
    files = [file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path])]
    return {file.relative_to(REPOSITORY).as_posix() for file in files if file.name != "__init__.py"}


def test_package_files_hold_nothing_a_stage_could_depend_on():
    for path in SRC.glob("maskmill/*/__init__.py"):
        if path.parent.name != "metrics":  # it hands out the metric classes by name
            assert len(path.read_text().splitlines()) == 1, path


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "compose"])
def test_a_stage_depends_on_its_own_resolved_configuration(stage):
    assert STAGES[stage]["params"] == [{f"out/conf/{stage}.yaml": None}]
    assert f"out/conf/{stage}.yaml" in STAGES["compose"]["outs"]
