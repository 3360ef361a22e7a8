"""Every code block of README.md and docs/ runs, in these tests or in a named one, or says why not.

The blocks of a page run as they are written, one after the other, in one folder. A tutorial begins
in an empty folder, another page in that of the first tutorial. Its `conf/` shortens trainings.
"""

import ast
import os
import re
import shlex
import shutil
import signal
import subprocess
from itertools import groupby
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from brightness_server import Server, is_healthy
from code_blocks import read_blocks
from commands import SMALL_ENCODER, command_environment, preloaded_python, server_folder
from maskmill.assembly.conf_search_path import packaged_conf
from maskmill.stages import cli
from mlflow_server import free_port

REPOSITORY = Path(__file__).parents[1]
PATHS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
PAGES = {
    path.relative_to(REPOSITORY).as_posix(): path.read_text()
    for path in PATHS
    if "reference" not in path.parent.parts  # written by `make docs`
}
BLOCKS = [block for page, text in PAGES.items() for block in read_blocks(page, text)]
FIRST = "docs/tutorials/own_photographs.md"
IN_EMPTY_FOLDERS = {f"docs/tutorials/{name}.md" for name in ("class_masks", "cluster", "nuclei")}
RUN = {
    page: list(blocks)
    for page, blocks in groupby(
        filter(lambda block: block.is_run, BLOCKS), lambda block: block.page
    )
}
# Files that a page or a user writes, or that a package brings.
OWN_CHOICES = {"NAME", "best_lr", "best_rate", "fruit", "nuclei", "orchard", "ours", "own"}
OWN_CHOICES |= {"planned", "street"}
TIMEOUT_S = 300


def test_every_block_runs_or_says_why_not():
    problems = [block.problem for block in BLOCKS]
    assert [problem for problem in problems if problem] == []
    assert len(BLOCKS) > 100


@pytest.mark.parametrize(
    "mark",
    [
        pytest.param("", id="none"),
        pytest.param("<!-- not run -->\n", id="no reason"),
        pytest.param("<!-- not run: later -->\n", id="no reason of the list"),
        pytest.param("<!-- run by hand -->\n", id="no test"),
        pytest.param("<!-- run -->\n\nAnother paragraph.\n\n", id="of another paragraph"),
    ],
)
@pytest.mark.parametrize("block", ["```console\nls\n```\n", "    ls\n"])
def test_a_block_without_a_mark_or_a_reason_is_a_problem(mark, block):
    (found,) = read_blocks("page.md", f"# Page\n\n{mark}\n{block}")
    assert found.problem is not None


def functions_of(path):
    return {node.name for node in ast.parse(path.read_text()).body if hasattr(node, "name")}


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.tests], ids=str)
def test_a_named_test_exists_and_knows_the_commands(block):
    texts = ""
    for file, name in block.tests:
        assert name in functions_of(REPOSITORY / file), f"{file}::{name}"
        texts += (REPOSITORY / file).read_text()
    missing = [line for line in block.commands if not re.search(rf"\b{line.split()[0]}\b", texts)]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_scripts_that_a_page_names_exist(page):
    code = "\n".join(block.code for block in BLOCKS if block.page == page)
    scripts = re.findall(r"python ((?:benchmarks|tests)/\S+\.py)", code)
    scripts += [f"{name.replace('.', '/')}.py" for name in re.findall(r"-m (benchmarks\S+)", code)]
    scripts += re.findall(r"\btests/\S+\.py", code)
    assert [script for script in scripts if not (REPOSITORY / script).is_file()] == []


# --- settings


@pytest.fixture(scope="module")
def configuration():
    with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
        return compose("config")


def is_known(override, configuration):
    """Whether it chooses a file of conf/ or sets a key that some choice has."""
    group = re.sub(r"@.*", "", override.key_or_group)
    folder = REPOSITORY / "conf" / group
    if folder.is_dir():
        names = str(override.value()).split(",")
        return override.is_sweep_override() or all(
            (folder / f"{name}.yaml").is_file() or name in OWN_CHOICES for name in names
        )
    first, *rest = group.split(".")
    if override.is_add() and OmegaConf.select(configuration, f"{first}._target_"):
        return True  # an argument of its constructor that conf/ does not name
    if first in {"hydra", "tracking"} or OmegaConf.select(configuration, group) is not None:
        return True
    if OmegaConf.select(configuration, group.rpartition(".")[0]) == {}:  # of names of its own
        return True
    texts = [path.read_text() for path in (REPOSITORY / "conf" / first).glob("*.yaml")]
    return any(re.search(rf"\b{rest[-1]}:", text) for text in texts)


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist_and_settings_are_those_of_conf(page, configuration):
    lines = [line for block in BLOCKS if block.page == page for line in block.commands]
    lines += re.findall(r"`maskmill (\w[^`\n]*?)(?: -m \.\.\.)?`", PAGES[page])
    unknown = []
    for line in lines:
        command, *words = shlex.split(line, comments=True)
        assert command in cli.COMMANDS | {"COMMAND": ""}, line
        # A value with blanks is quoted for the shell; Hydra's grammar would need quotes of its own.
        settings = [re.sub("=.* .*", "=x", word) for word in words if "=" in word]
        for override in OverridesParser.create().parse_overrides(settings):
            if not is_known(override, configuration):
                unknown.append(override.input_line)
    assert unknown == []


@pytest.mark.parametrize("line", ["optimzer.lr=1", "network=unett", "plan.minutez=3"])
def test_a_misspelt_setting_is_found(line, configuration):
    (override,) = OverridesParser.create().parse_overrides([line])
    assert not is_known(override, configuration)


# --- runs

QUICK = {
    "encoder/resnet10t": ["name: resnet10t", f"name: {SMALL_ENCODER}"],
    "network/panoptic_deeplab": ["dual_decoder: true", "dual_decoder: false"],
    "trainer/cpu": ["max_epochs: 30", "max_epochs: 1"],
    "data/default": ["num_workers: 2", "num_workers: 0"],
    "prepare/default": ["workers: -1", "workers: 1"],
    "evaluate/default": ["num_resamples: 1000", "num_resamples: 20"],
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A folder of programs that fork: `maskmill`, and `python` and `dvc`."""
    preloaded_python()
    folder = tmp_path_factory.mktemp("programs")
    text = f'#!/bin/sh\nexec {preloaded_python()} -m maskmill.stages.cli "$@"\n'
    (folder / "maskmill").write_text(text)
    (folder / "maskmill").chmod(0o755)
    for name in ("python", "dvc"):
        (folder / name).symlink_to(server_folder() / name)
    return folder


def shorten(folder):
    """Files in the project's conf/, which are read before those of maskmill."""
    for name, (old, new) in QUICK.items():
        text = (REPOSITORY / f"conf/{name}.yaml").read_text()
        assert old in text, name
        path = folder / f"conf/{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace(old, new))
    shutil.copy(server_folder() / "mlflow.db", folder)


def follow(page, folder, programs):
    """Run the blocks of a page in a folder; those of a tutorial where the one before ended."""
    port = str(free_port())
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    environment = command_environment(PATH=path)
    cwd = folder
    server = None
    try:
        for number, block in enumerate(RUN[page]):
            script = block.script.replace(":8000", f":{port}")
            if block.mark.startswith("serve"):
                command = f"exec {script.strip()} serve.port={port}"
                process = subprocess.Popen(["bash", "-c", command], cwd=cwd, env=environment)
                server = Server(process, port)
                server.wait_until(is_healthy)
                continue
            name = f"block_{number}"
            program = ["python", "-m", name]
            if block.language == "python":
                (cwd / f"{name}.py").write_text(script)
            else:
                (folder / name).write_text(f"{script}\npwd > {folder}/cwd\n")
                program = ["bash", "-euo", "pipefail", folder / name]
            done = subprocess.run(
                program,
                cwd=cwd,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
            assert done.returncode == 0, f"{block}\n{done.stdout[-4000:]}"
            if page.startswith("docs/tutorials/"):
                cwd = Path((folder / "cwd").read_text().strip())
    finally:
        if server:
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(timeout=TIMEOUT_S)
    assert server is None or server.process.returncode == 0


@pytest.fixture(scope="module")
def project(programs, tmp_path_factory):
    """The folder that the first tutorial leaves."""
    folder = tmp_path_factory.mktemp("project")
    shorten(folder)
    follow(FIRST, folder, programs)
    return folder


@pytest.mark.slow
def test_the_first_tutorial_leaves_a_report_a_champion_and_predictions(project):
    assert (project / "out/evaluate/report.html").is_file()
    assert '"champion"' in (project / "out/register/version.json").read_text()
    assert len(list((project / "found/overlays").iterdir())) == 12


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(set(RUN) - {FIRST}))
def test_the_blocks_of_a_page_run(page, project, programs, tmp_path):
    if page in IN_EMPTY_FOLDERS:
        shorten(tmp_path)
    follow(page, tmp_path if page in IN_EMPTY_FOLDERS else project, programs)
