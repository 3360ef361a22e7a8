"""The distribution: what pyproject.toml says, and an installed wheel without the repository."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections import defaultdict
from importlib.machinery import PathFinder
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from commands import SMALL_ENCODER, preloaded_python
from maskmill.assembly.build import build
from maskmill.assembly.project import FILES, TEMPLATES, create_project
from maskmill.sources.source import Source

REPOSITORY = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
DISTRIBUTED = [
    *("src", "conf", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"),
    *("CHANGELOG.md", "CITATION.cff", "SECURITY.md"),
]
FEW_SCENES = ["draw.num_train=8", "draw.num_val=2", "draw.num_test=3", "draw.out=data"]
DVC_LINES = ("Running stage", "> maskmill", "Generating lock file", "Updating lock file")
# What maskmill prints in `dvc repro` of a new project: what is made, where, and where to look.
FORMS = (
    r"composed 5 stages -> out/conf \(",
    r"13 images of 7 categories to convert$",
    r"prepared train 8, val 2, test 3 images, 0 left out -> out/prepare \(",
    r"epoch 1/1  .*  left 0:00:00$",
    r"calibration on 2 validation images: ",
    r"best val/PQ \d\.\d{4}, weights [0-9a-f]{64}, model [0-9a-f]{12} -> out/train \(",
    r"3 predictions by model [0-9a-f]{12} -> out/predict \(",
    r"PQ \d+\.\d\d %  .* -> out/evaluate \(",
    r"added the evaluation to run [0-9a-f]{32}$",
    r"maskmill version 1 is champion \(the first version of this model\) -> out/register$",
    r"scores                PQ \d+\.\d\d % \(\d+\.\d\d to \d+\.\d\d %\)  mIoU ",
    r"report                out/evaluate/report\.html$",
    r"runs, curves, models  maskmill ui$",
    r"try the model         maskmill serve serve\.model=models:/maskmill/1$",
)
QUICK = {
    "encoder": {"name": SMALL_ENCODER},
    "trainer": {"max_epochs": 1, "log_every_n_steps": 1},
    "data": {"num_workers": 0},
    "tracking": {"system_metrics": False},
    "prepare": {"workers": 1},
}


def requirement(name):
    found = [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]
    (match,) = [item for item in found if item.name == name]
    return match.specifier


def locked(name):
    lines = (REPOSITORY / "requirements.lock").read_text().splitlines()
    (version,) = [line.partition("==")[2] for line in lines if line.startswith(f"{name}==")]
    return version


def canonical_pin(pin):
    """`Name==version` with the name as package indexes write it."""
    name, _, version = pin.partition("==")
    return f"{canonicalize_name(name)}=={version}"


def hashes_of_pins(path):
    """`name==version` -> checksums of a lock with hashes."""
    entries = path.read_text().replace("\\\n", " ").splitlines()
    hashes = {}
    for entry in entries:
        pin, *rest = entry.split()
        hashes[pin] = [word for word in rest if word.startswith("--hash")]
    return hashes


def distributed_files(tree):
    """Path in the package -> nothing else than what a wheel has to hold."""
    files = {f"{path.relative_to(tree / 'src')}": path for path in (tree / "src").rglob("*")}
    files |= {
        f"maskmill/conf/{path.relative_to(tree / 'conf')}": path
        for path in (tree / "conf").rglob("*")
    }
    return {name for name, path in files.items() if path.is_file()}


# --- pyproject.toml and the lock


def test_every_package_is_listed_for_the_wheel():
    modules = (REPOSITORY / "src").glob("*/**/*.py")
    folders = {path.parent.relative_to(REPOSITORY / "src") for path in modules}
    packages = {".".join(folder.parts) for folder in folders}
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == packages | {"maskmill.conf"}


def test_the_site_is_built_with_versions_that_pyproject_and_the_lock_allow():
    hashes_of = hashes_of_pins(REPOSITORY / "docs" / "requirements.hashes")
    assert all(hashes_of.values())
    versions = defaultdict(set)
    for pin in hashes_of:
        name, _, version = pin.partition("==")
        versions[name].add(version)
    for line in PYPROJECT["project"]["optional-dependencies"]["docs"]:
        extra = Requirement(line)
        assert versions[extra.name]
        assert all(map(extra.specifier.contains, versions[extra.name]))
    pins = (REPOSITORY / "requirements.lock").read_text().split()
    for pin in map(canonical_pin, pins):
        name, _, version = pin.partition("==")
        assert versions.get(name, {version}) == {version}


def test_the_installed_files_are_those_of_the_locked_versions():
    """requirements.hashes, which `make install` uses, has the pins of requirements.lock."""
    pins = (REPOSITORY / "requirements.lock").read_text().split()
    hashes_of = hashes_of_pins(REPOSITORY / "requirements.hashes")
    assert sorted(hashes_of) == sorted(map(canonical_pin, pins))
    for hashes in hashes_of.values():
        assert hashes
        assert all(re.fullmatch("--hash=sha256:[0-9a-f]{64}", digest) for digest in hashes)


@pytest.mark.parametrize("version", ["2.6.2", "2.6.3"])
def test_lightning_releases_withdrawn_as_malware_are_refused(version):
    assert version not in requirement("lightning")
    assert version != locked("lightning")


def test_the_other_lightning_releases_are_accepted():
    assert "2.6.1" in requirement("lightning")
    assert locked("lightning") in requirement("lightning")


def test_hydra_refuses_dangerous_targets_from_the_lowest_accepted_release_on():
    assert "1.3.7" not in requirement("hydra-core")
    assert locked("hydra-core") in requirement("hydra-core")


# --- a new project


def pipeline(text):
    """The stages without what must differ between the repository and a project."""
    content = yaml.safe_load(text)
    for stage in content["stages"].values():
        stage["cmd"] = stage["cmd"].replace(
            "PYTHONPATH=src python -m maskmill.stages.", "maskmill "
        )
        stage["deps"] = [path for path in stage["deps"] if path != "src/maskmill"]
        stage.pop("always_changed", None)
    return content


def test_the_pipeline_of_a_new_project_is_that_of_the_repository():
    template = (TEMPLATES / "pipeline.yaml").read_text()
    assert pipeline(template) == pipeline((REPOSITORY / "dvc.yaml").read_text())


def test_compose_always_runs_in_a_project_since_the_package_may_have_been_upgraded():
    stages = yaml.safe_load((TEMPLATES / "pipeline.yaml").read_text())["stages"]
    assert [name for name in stages if "always_changed" in stages[name]] == ["compose"]


def test_a_new_project_starts_with_the_choices_of_the_repository():
    own = yaml.safe_load((TEMPLATES / "params.yaml").read_text())
    assert own == yaml.safe_load((REPOSITORY / "params.yaml").read_text())


def test_every_template_is_written_to_a_project():
    assert set(FILES) == {path.name for path in TEMPLATES.iterdir()}


def test_the_example_of_an_own_layout_builds_a_source():
    node = OmegaConf.create({"source": OmegaConf.load(TEMPLATES / "own.yaml")})
    assert isinstance(build(node.source, Source), Source)


@pytest.mark.slow
def test_a_new_project_is_a_git_repository_with_drawn_data(tmp_path):
    project = create_project(tmp_path / "street")
    names = {path.name for path in (tmp_path / "street").iterdir()}
    assert names == {Path(name).parts[0] for name in FILES.values()} | {"data", ".git"}
    assert (tmp_path / "street" / "data" / "scenes.json").is_file()
    assert project.next_commands == f"cd {tmp_path / 'street'} && dvc init && dvc repro"


@pytest.mark.slow
def test_a_new_project_inside_a_repository_joins_it(tmp_path):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    project = create_project(tmp_path / "street")
    assert not (tmp_path / "street" / ".git").exists()
    assert "dvc init --subdir" in project.next_commands


def test_a_folder_with_content_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="either choose another name or move"):
        create_project(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


# --- an installed wheel


def run(*command, cwd, venv, **variables):
    """Run a command with the programs of a virtual environment first on the path."""
    hidden = {"PYTHONPATH", "MLFLOW_TRACKING_URI", "DVC_ROOT", "VIRTUAL_ENV"}
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    programs = [str(venv / "bin"), str(Path(sys.executable).parent), environment["PATH"]]
    environment |= {"PATH": os.pathsep.join(programs), "OMP_NUM_THREADS": "1"} | variables
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    result = subprocess.run(command, cwd=cwd, env=environment, check=False, **streams)
    assert result.returncode == 0, result.stdout[-6000:]
    return result.stdout


@pytest.fixture(scope="module")
def source_distribution(tmp_path_factory):
    """The unpacked sdist, of a copy of the sources, so that nothing is left in the tree."""
    folder = tmp_path_factory.mktemp("sdist")
    tree = folder / "tree"
    tree.mkdir()
    for name in DISTRIBUTED:
        path = REPOSITORY / name
        if path.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(path, tree / name, ignore=ignored)
        else:
            shutil.copy(path, tree / name)
    expected = distributed_files(tree)
    build = "from setuptools import build_meta; build_meta.build_sdist('..')"
    subprocess.run([sys.executable, "-c", build], cwd=tree, check=True, stdout=subprocess.DEVNULL)
    (path,) = folder.glob("*.tar.gz")
    shutil.unpack_archive(path, folder, filter="data")
    return folder / path.name.removesuffix(".tar.gz"), expected


@pytest.fixture(scope="module")
def wheel(source_distribution, tmp_path_factory):
    """A wheel built from the sdist."""
    tree, expected = source_distribution
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", ".", *options], cwd=tree, check=True)
    (path,) = folder.glob("*.whl")
    return path, expected


@pytest.fixture(scope="module")
def venv(wheel, tmp_path_factory):
    """An environment with the wheel, and the libraries, but not the maskmill, of this one."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    (site_packages,) = folder.glob("lib/python*/site-packages")
    # A path in a .pth file is not searched for further .pth files, which hides an editable install.
    libraries = [path for path in sys.path if path.endswith("-packages")]
    (site_packages / "libraries.pth").write_text("\n".join(libraries) + "\n")
    options = ["--no-deps", "--no-index", "--quiet"]
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install"]
    subprocess.run([*pip, *options, str(wheel[0])], check=True)
    program = "import maskmill; print(maskmill.__file__)"
    imported = run(str(python), "-c", program, cwd=folder, venv=folder).strip()
    assert Path(imported).is_relative_to(site_packages)
    return folder


@pytest.fixture(scope="module")
def forked(venv, tmp_path_factory):
    """The settings of `run` with which `maskmill` and `dvc` run in forked processes.

    `maskmill` is that of the installed wheel. Other tests run both as users do.
    """
    (site_packages,) = venv.glob("lib/python*/site-packages")
    spec = PathFinder.find_spec("maskmill", [str(site_packages)])
    assert Path(spec.origin).is_relative_to(site_packages)
    folder = tmp_path_factory.mktemp("forked")
    for name, module in (("maskmill", "maskmill.stages.cli"), ("dvc", "dvc")):
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec {preloaded_python()} -m {module} "$@"\n')
        program.chmod(0o755)
    srun = folder / "srun"  # of a login node; Lightning notices it, and nothing runs it
    srun.write_text("#!/bin/sh\nexit 1\n")
    srun.chmod(0o755)
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {"PATH": path, "PYTHONPATH": str(site_packages)}


@pytest.fixture(scope="module")
def street(venv, forked, tmp_path_factory):
    """A project made and run by the installed wheel, with few scenes and one epoch."""
    parent = tmp_path_factory.mktemp("projects")
    run("maskmill", "new", "street", cwd=parent, venv=venv)
    folder = parent / "street"
    run("maskmill", "draw", *FEW_SCENES, cwd=folder, venv=venv)
    params = {"group": {"experiment": "scenes_panoptic"}, "set": QUICK}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    run("dvc", "init", "--quiet", cwd=folder, venv=venv, **forked)
    output = run("dvc", "repro", cwd=folder, venv=venv, **forked)
    (folder / "repro.txt").write_text(output)
    return folder


@pytest.mark.slow
def test_the_sdist_holds_what_a_wheel_is_built_from_and_no_part_of_the_tests(source_distribution):
    tree, _ = source_distribution
    made = {"PKG-INFO", "setup.cfg"}
    assert {path.name for path in tree.iterdir()} == set(DISTRIBUTED) | made


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package_and_of_conf(wheel):
    path, expected = wheel
    with zipfile.ZipFile(path) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == expected


@pytest.mark.slow
def test_a_new_project_ends_with_a_registered_champion(street):
    version = json.loads((street / "out/register/version.json").read_text())
    assert version["alias"] == "champion"
    assert (street / "mlflow.db").is_file()
    assert (street / "out/evaluate/report.html").is_file()


@pytest.mark.slow
def test_the_first_run_of_a_project_prints_what_is_made_and_where_and_no_line_of_a_library(street):
    """Between DVC's own lines; `FORMS` has the first words of each line of maskmill."""
    lines = (street / "repro.txt").read_text().partition("To track the changes")[0].splitlines()
    ours = [line for line in lines if line and not line.startswith(DVC_LINES)]
    assert [line for line in ours if not re.match("|".join(FORMS), line)] == []
    for form in FORMS:
        assert any(re.match(form, line) for line in ours), form
    folders = ("conf", "prepare", "train", "predict", "evaluate", "register")
    for folder in folders:
        assert sum(f" -> out/{folder} (" in line for line in ours) == (folder != "register")


@pytest.mark.slow
def test_a_second_repro_of_a_project_composes_and_runs_nothing_else(street, venv):
    output = run("dvc", "repro", cwd=street, venv=venv)
    stages = [line for line in output.splitlines() if line.startswith("Running stage")]
    assert stages == ["Running stage 'compose':"]


@pytest.mark.slow
def test_scoring_predictions_leaves_nothing_but_the_scores(street, venv, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    for name, folder in {"gt": "out/prepare/test", "pred": "out/predict"}.items():
        shutil.copytree(street / folder / "panoptic", elsewhere / name)
        shutil.copy(street / folder / "panoptic.json", elsewhere / f"{name}.json")
    empty = tmp_path / "empty"
    empty.mkdir()
    arguments = [
        f"evaluate.target={elsewhere / 'gt.json'}",
        f"evaluate.prediction={elsewhere / 'pred.json'}",
        "evaluate.out=scores",
    ]
    run("maskmill", "evaluate", *arguments, cwd=empty, venv=venv)
    assert [path.name for path in empty.iterdir()] == ["scores"]
    assert (empty / "scores" / "metrics.json").is_file()
