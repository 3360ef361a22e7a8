"""Format, style, types and layers, as `make lint` checks them."""

import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["ruff", "format", "--check", "."], id="format"),
        pytest.param(["ruff", "check", "."], id="style"),
        pytest.param(["lint-imports"], id="layers"),
        pytest.param(
            ["pyrefly", "check", "--python-interpreter-path", sys.executable],
            id="types",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_lint_is_clean(command, repository):
    result = subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
def test_scripts_that_are_run_by_hand_call_what_exists(repository):
    """Nothing else runs all of them, so a changed signature would be noticed months later."""
    scripts = [*repository.glob("benchmarks/**/*.py")]
    folders = ["src", ".", "benchmarks", "benchmarks/campaign", "tests"]
    command = [BIN / "pyrefly", "check", *scripts, "--python-interpreter-path", sys.executable]
    for folder in folders:
        command += ["--search-path", folder]
    for kind in (
        *("missing-argument", "bad-argument-count", "unexpected-keyword"),
        *("missing-module-attribute", "unknown-name"),
    ):
        command += ["--only", kind]
    result = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_module_outgrows_its_noun(repository):
    long = {
        path.name: count
        for path in repository.glob("src/**/*.py")
        if (count := len(path.read_text().splitlines())) > 300
    }
    assert not long


def test_pins_are_names_and_versions_only(repository):
    lines = (repository / "requirements.lock").read_text().split()
    assert all(line.count("==") == 1 and "://" not in line for line in lines)
    assert {"torch==2.14.1", "torchvision==0.29.1"} <= set(lines)
