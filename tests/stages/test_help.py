"""`maskmill COMMAND --help` and the completion name what the configuration has."""

import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from commands import start
from maskmill.assembly.conf_search_path import packaged_conf
from maskmill.assembly.suggestions import known_choices
from maskmill.stages import cli
from maskmill.stages.completion import completion_script
from maskmill.stages.help_texts import HELP

OWN_PARSERS = {"new", "models", "doctor"}
WITHOUT_SETTINGS = {"compose"}
OVERRIDES = {
    command: [shlex.split(line)[0] for line in text.settings] for command, text in HELP.items()
}


@pytest.fixture(scope="module")
def configuration():
    """What all settings of all commands give, the first value of each."""
    first = {}
    for overrides in OVERRIDES.values():
        for override in overrides:
            first.setdefault(override.partition("=")[0], override)
    with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
        return compose("config", list(first.values()))


def test_each_command_has_help():
    assert set(cli.COMMANDS) - set(HELP) == OWN_PARSERS | WITHOUT_SETTINGS


@pytest.mark.parametrize("command", HELP)
def test_help_names_settings_and_examples_that_exist(command, configuration):
    choices = known_choices()
    lines = [part for line in HELP[command].examples for part in shlex.split(line) if part != "-m"]
    for override in OverridesParser.create().parse_overrides([*OVERRIDES[command], *lines]):
        name = override.key_or_group
        is_choice = override.value() in choices.get(name, [])
        assert is_choice or OmegaConf.select(configuration, name) is not None, name
        if is_choice or name in choices:
            assert override.value() in choices[name], name
    assert 1 <= len(OVERRIDES[command]) <= 12
    assert HELP[command].examples


def help_of(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["maskmill", command, "--help"])
    cli.main()
    return capsys.readouterr().out


def test_help_of_each_command_fits_a_terminal_and_says_how_to_see_all(monkeypatch, capsys):
    for command in HELP:
        text = help_of(command, monkeypatch, capsys)
        assert text.startswith(f"maskmill {command}: {cli.COMMANDS[command]}\n")
        assert f"maskmill {command} --cfg job prints all settings" in text
        assert max(map(len, text.splitlines())) <= 120


COMPLETED = {
    "maskmill tra": {"train"},
    "maskmill train network=upe": {"network=upernet"},
    "maskmill train schedul": {"scheduler=cosine", "scheduler=poly"},
    "maskmill train trainer.max_e": {"trainer.max_epochs="},
    "maskmill train --he": {"--help"},
    "maskmill train source=own": {"source=own"},
}
IN_BASH = """eval "$SCRIPT"
COMP_LINE="$LINE" COMP_POINT=${#LINE} COMP_CWORD=$(($(wc -w <<< "$LINE") - 1))
_maskmill
printf '%s\\n' "${COMPREPLY[@]}"
"""
IN_FISH = "echo $SCRIPT | source; complete --do-complete $LINE"


@pytest.fixture
def shell_environment(tmp_path, monkeypatch):
    """A project with a choice of its own, and the environment of shells in it."""
    (tmp_path / "conf" / "source").mkdir(parents=True)
    (tmp_path / "conf" / "source" / "own.yaml").write_text("root: data\n")
    monkeypatch.chdir(tmp_path)
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "dumb"}


def require(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")


@pytest.mark.slow
@pytest.mark.parametrize(("shell", "program"), [("bash", IN_BASH), ("fish", IN_FISH)])
def test_a_shell_completes_commands_choices_and_keys(shell, program, shell_environment):
    require(shell)
    shell_environment["SCRIPT"] = completion_script(cli.COMMANDS, shell)
    for line, words in COMPLETED.items():
        result = subprocess.run(
            [shell, "-c", program],
            env=shell_environment | {"LINE": line},
            capture_output=True,
            text=True,
            check=True,
        )
        typed = line.rpartition("=")[0] + "=" if shell == "bash" and "=" in line else ""
        expected = {word.removeprefix(typed.rpartition(" ")[2]) for word in words}
        assert expected <= set(result.stdout.split()), line


@pytest.mark.slow
@pytest.mark.parametrize("line", COMPLETED)
def test_zsh_completes_what_is_typed(line, shell_environment):
    require("zsh")
    shell_environment["SCRIPT"] = completion_script(cli.COMMANDS, "zsh")
    terminal, shells_end = pty.openpty()
    command = ["zsh", "-f", "-i"]
    shell = subprocess.Popen(
        command, stdin=shells_end, stdout=shells_end, stderr=shells_end, env=shell_environment
    )
    os.close(shells_end)
    try:
        os.write(terminal, f'eval "$SCRIPT"; clear\n{line}\t\t'.encode())
        shown = ""
        deadline = time.monotonic() + 30
        while not all(word in shown for word in COMPLETED[line]) and time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.1)[0]:
                shown += os.read(terminal, 65536).decode(errors="replace")
        assert all(word in shown for word in COMPLETED[line]), shown
    finally:
        shell.kill()
        shell.wait()
        os.close(terminal)


def test_another_shell_is_refused():
    with pytest.raises(ValueError, match="expected one of bash, zsh, fish, but got 'csh'"):
        completion_script(cli.COMMANDS, "csh")


def test_the_exit_statuses_are_documented(repository):
    table = (repository / "docs" / "commands.md").read_text().partition("## Exit status")[2]
    statuses = re.findall(r"^\| (\d+) \|", table, re.MULTILINE)
    assert statuses == ["0", "1", "2", "130", "143"]


@pytest.mark.slow
def test_ctrl_c_ends_a_command_with_its_status_and_one_line(tmp_path):
    process = start("draw", "draw.num_train=20000", "draw.out=scenes", cwd=tmp_path)
    while not list(tmp_path.rglob("*.png")) and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert output.splitlines()[-1].endswith("interrupted")
    assert "Traceback" not in output
