import subprocess
import sys

import pytest

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


LIGHT = [
    *("prepare", "shard", "plan", "find_batch_size", "find_lr", "train"),
    *("predict", "evaluate", "register", "serve", "draw"),
]
# Each command in a process forked from one that has imported Hydra, which takes a second.
SHOW_HELP = f"""
import hydra, importlib, os, sys
for command in {LIGHT}:
    if os.fork() == 0:
        sys.argv = [command, "--help"]
        try:
            importlib.import_module(f"maskmill.stages.{{command}}").main()
        except SystemExit as end:
            print(f"\\n{{command}} ended with {{end.code}}, torch: {{'torch' in sys.modules}}")
        sys.stdout.flush()
        os._exit(0)
    os.wait()
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
    found = [line for line in result.stdout.splitlines() if ", torch: " in line]
    expected = [f"{command} ended with 0, torch: False" for command in LIGHT]
    assert found == expected, result.stdout + result.stderr


@pytest.mark.slow
def test_an_unknown_configuration_key_is_one_message_and_a_non_zero_exit(repository):
    result = run("train", "optimizer.speed=3", cwd=repository)
    assert result.returncode == 1
    assert "Could not override 'optimizer.speed'" in result.stderr
    assert "Traceback" not in result.stderr
