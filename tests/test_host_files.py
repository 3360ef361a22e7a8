"""The files that a host of repositories reads: workflows, forms, development container."""

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner
from packaging.specifiers import SpecifierSet

import maskmill

REPOSITORY = Path(__file__).parents[1]
GITHUB = REPOSITORY / ".github"
WORKFLOWS = sorted(GITHUB.glob("workflows/*.yml"))
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
PINNED = re.compile(r"[\w-]+/[\w-]+@v\d+\.\d+\.\d+")  # setup-uv has no tags like v10
SCHEMAS = {
    "github-workflows": [*WORKFLOWS, REPOSITORY / "docs/ci/github.yml"],
    "github-issue-forms": [GITHUB / f"ISSUE_TEMPLATE/{name}.yml" for name in ("bug", "idea")],
    "github-issue-config": [GITHUB / "ISSUE_TEMPLATE/config.yml"],
    "dependabot": [GITHUB / "dependabot.yml"],
    "gitlab-ci": [REPOSITORY / "docs/ci/gitlab.yml"],
    "citation-file-format": [REPOSITORY / "CITATION.cff"],
}


def jobs(workflow):
    return yaml.safe_load(workflow.read_text())["jobs"]


def steps(workflow):
    return [step for job in jobs(workflow).values() for step in job["steps"]]


def words_of_commands():
    """The words of each line of shell in the workflows and in the development container."""
    container = json.loads((REPOSITORY / ".devcontainer/devcontainer.json").read_text())
    lines = container["postCreateCommand"].splitlines()
    for workflow in WORKFLOWS:
        for step in steps(workflow):
            lines += step.get("run", "").splitlines()
    return [shlex.split(line) for line in lines]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_file_has_the_form_that_the_host_reads(schema):
    arguments = ["--builtin-schema", f"vendor.{schema}", *map(str, SCHEMAS[schema])]
    result = CliRunner().invoke(check_jsonschema, arguments)
    assert result.exit_code == 0, result.output


def test_a_wrong_key_is_found(tmp_path):
    wrong = WORKFLOWS[0].read_text().replace("timeout-minutes", "timeout")
    (tmp_path / "ci.yml").write_text(wrong)
    arguments = ["--builtin-schema", "vendor.github-workflows", str(tmp_path / "ci.yml")]
    assert CliRunner().invoke(check_jsonschema, arguments).exit_code == 1


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_and_commands_contain_no_text_of_others(workflow):
    actions = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert actions
    assert [action for action in actions if not PINNED.fullmatch(action)] == []
    scripts = [step["run"] for step in steps(workflow) if "run" in step]
    assert [script for script in scripts if "${{" in script] == []  # of a branch's name, for one
    subprocess.run(["sh", "-n"], input="\n".join(scripts), text=True, check=True)


def test_commands_name_targets_extras_and_files_that_exist():
    rules = re.findall(r"^([\w -]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    targets = {target for rule in rules for target in rule.split()}
    extras = PYPROJECT["project"]["optional-dependencies"]
    used = set()
    for words in words_of_commands():
        used.add(words[0])
        if words[0] == "make":
            assert set(words[1:]) <= targets, words
        if words[0] == "sh":
            assert (REPOSITORY / words[1]).is_file(), words
        for extra in re.findall(r"\[(\w+)\]", " ".join(words)):
            assert extra in extras, words
    assert used == {"make", "uv", ".venv/bin/python", "sh", "gh"}


def test_quick_tests_run_on_every_supported_python_and_both_ends_of_the_dependencies():
    matrix = jobs(GITHUB / "workflows/ci.yml")["quick"]["strategy"]["matrix"]
    assert matrix["dependencies"] == ["lowest-direct", "highest"]
    supported = SpecifierSet(PYPROJECT["project"]["requires-python"])
    assert list(supported.filter(matrix["python"])) == matrix["python"]
    declared = re.findall(r"Python :: (3\.\d+)", " ".join(PYPROJECT["project"]["classifiers"]))
    assert set(declared) <= set(matrix["python"])


def test_only_the_jobs_that_sign_may_sign_and_no_secret_is_stored():
    release = jobs(GITHUB / "workflows/release.yml")
    signing = [name for name, job in release.items() if "id-token" in job["permissions"]]
    assert signing == ["build", "publish"]
    assert all("secrets." not in workflow.read_text() for workflow in WORKFLOWS)


@pytest.fixture
def release_notes(tmp_path):
    """The notes that the workflow writes for a tag of a repository at version 0.2.0."""
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## 0.2.0\n\n- new\n\n## 0.1.0\n\n- old\n"
    )
    shutil.copy(GITHUB / "release_notes.sh", tmp_path)

    def run(tag):
        command = ["sh", "release_notes.sh", tag]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


def test_the_notes_of_a_release_are_its_section_of_the_changelog(release_notes):
    assert release_notes("v0.2.0").stdout.strip() == "- new"


def test_a_tag_that_is_not_the_version_ends_the_release(release_notes):
    refused = release_notes("v0.1.0")
    assert refused.returncode == 1
    assert "expected the tag v0.2.0" in refused.stderr


def test_a_version_without_a_section_ends_the_release(release_notes, tmp_path):
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n- new\n")
    refused = release_notes("v0.2.0")
    assert refused.returncode == 1
    assert "expected a section '## 0.2.0'" in refused.stderr


def test_the_container_forwards_the_ports_of_the_pages_and_of_the_server():
    container = json.loads((REPOSITORY / ".devcontainer/devcontainer.json").read_text())
    ports = [
        yaml.safe_load((REPOSITORY / f"conf/{group}/default.yaml").read_text())["port"]
        for group in ("ui", "serve")
    ]
    assert container["forwardPorts"] == ports


def test_the_version_is_the_same_wherever_it_is_written():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())["version"]
    assert maskmill.__version__ == PYPROJECT["project"]["version"] == citation
