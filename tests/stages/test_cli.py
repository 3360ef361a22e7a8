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


@pytest.mark.parametrize(
    "command",
    [
        "prepare",
        "shard",
        "find_batch_size",
        "find_lr",
        "train",
        "predict",
        "evaluate",
        "register",
        "serve",
        "draw",
    ],
)
def test_help_of_a_command_imports_no_torch(command, repository):
    argv = f"import sys; sys.argv = ['{command}', '--help']"
    start = f"{argv}; from maskmill.stages.{command} import main"
    program = f"{start}\ntry: main()\nfinally: print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, check=False
    )
    assert result.stdout.rstrip().endswith("False"), result.stdout + result.stderr


def test_an_unknown_configuration_key_is_one_message_and_a_non_zero_exit(repository):
    result = run("train", "optimizer.speed=3", cwd=repository)
    assert result.returncode == 1
    assert "Could not override 'optimizer.speed'" in result.stderr
    assert "Traceback" not in result.stderr
