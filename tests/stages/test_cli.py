import os
import pty
import subprocess
import sys

import pytest

import commands
from commands import command_environment, preloaded_python
from maskmill.stages.cli import COMMANDS


def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "maskmill.stages.cli", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_names_every_command(repository):
    result = run("--help", cwd=repository)
    assert result.returncode == 0
    assert all(command in result.stdout for command in COMMANDS)


def test_an_unknown_command_names_those_there_are(repository):
    result = run("trian", cwd=repository)
    assert result.returncode == 2
    assert "'trian' - choose one of new, compose, config, check, prepare, shard" in result.stderr


SHOW_HELP = """
import importlib, sys
from maskmill.stages import cli, help_texts
for command in [*help_texts.HELP, "new", "models", "doctor"]:
    sys.argv = ["maskmill", command, "--help"]
    try:
        cli.main()
    except SystemExit as end:
        assert end.code == 0, command
    heavy = {"torch", "lightning", "mlflow"} & set(sys.modules)
    assert not heavy, f"{command} imports {heavy}"
for command in cli.COMMANDS:  # the programs that dvc.yaml runs
    importlib.import_module(f"maskmill.stages.{command}")
    assert "torch" not in sys.modules, command
print("shown")
"""


@pytest.mark.slow
def test_help_of_a_command_imports_no_torch(repository):
    result = subprocess.run(
        [sys.executable, "-c", SHOW_HELP],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.endswith("shown\n"), result.stderr


@pytest.mark.slow
def test_an_unknown_configuration_key_is_one_message_and_a_non_zero_exit(repository):
    result = run("train", "optimizer.speed=3", cwd=repository)
    assert result.returncode == 1
    assert "Could not override 'optimizer.speed'" in result.stderr
    assert "Traceback" not in result.stderr


def shown_on_a_terminal(cwd, **environment):
    """What a terminal receives of a command that ends with an error."""
    terminal, end = pty.openpty()
    command = [preloaded_python(), "-m", "maskmill.stages.check", "source.root=gone"]
    variables = command_environment(TERM="xterm", **environment)
    subprocess.run(command, cwd=cwd, env=variables, stdout=end, stderr=end, check=False)
    os.close(end)
    with os.fdopen(terminal, "rb", buffering=0) as file:
        return file.read(65536).decode()


@pytest.mark.slow
def test_errors_are_red_on_a_terminal_unless_no_color_is_set(tmp_path):
    assert shown_on_a_terminal(tmp_path).startswith("\x1b[31mgone: expected a folder")
    assert shown_on_a_terminal(tmp_path, NO_COLOR="1").startswith("gone: expected a folder")
    assert "\x1b" not in commands.run("check", "source.root=gone", cwd=tmp_path, status=1)


LEAVE_GARBAGE = """
import gc, sys
from maskmill.stages.entry import _leave_garbage
sys.modules["onnx"] = gc
_leave_garbage()
print(gc.get_freeze_count() > 0)
del sys.modules["onnx"]
_leave_garbage()
print(gc.get_freeze_count() > 0)
"""


def test_a_process_leaves_its_garbage_unless_onnx_would_report_it_as_leaked(repository):
    command = [sys.executable, "-c", LEAVE_GARBAGE]
    result = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "True"]


ONNX = """
import atexit, gc, sys
from maskmill.stages.entry import _BeforeOnnx, _leave_garbage
atexit.register(_leave_garbage)
sys.meta_path.insert(0, _BeforeOnnx())
before = len(gc.get_objects())
import onnx
cycle = [onnx.ModelProto()]
cycle.append(cycle)
print(gc.get_freeze_count() >= 0.9 * before)
"""


@pytest.mark.slow
def test_what_precedes_onnx_is_left_and_onnx_reports_no_leak(repository):
    command = [sys.executable, "-c", ONNX]
    result = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["True"]
    assert result.stderr == ""
