"""The documentation does what it says: recipes are followed, links and lines are checked."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from commands import start_module

REPOSITORY = Path(__file__).parents[1]
PAGES = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "benchmarks/gpu/README.md"),
    *sorted(
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / "docs").rglob("*.md")
        if "reference" not in path.parent.parts  # written by `make docs`
    ),
]
# A file of a recipe: its path in backticks and a colon, then its content as a code block.
RECIPE_FILE = re.compile(r"^`([\w/.]+)`:\n\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MAX_COLUMNS = 100


def recipe_files():
    """Path -> content of every file that CONTRIBUTING.md asks a contributor to write."""
    return dict(RECIPE_FILE.findall((REPOSITORY / "CONTRIBUTING.md").read_text()))


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """A copy of the repository in which the recipes of CONTRIBUTING.md were followed."""
    copy = tmp_path_factory.mktemp("followed") / "repository"
    for name in ("src", "conf", "tests"):
        shutil.copytree(
            REPOSITORY / name, copy / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(REPOSITORY / "pyproject.toml", copy)
    for name, text in recipe_files().items():
        path = copy / name
        assert not path.exists(), f"{name} exists, so it is no example of an addition"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return copy


def test_there_is_a_recipe_for_each_kind_of_part():
    folders = {Path(name).parent.name for name in recipe_files() if name.endswith(".py")}
    assert {"sources", "networks", "losses", "metrics", "stages"} <= folders


@pytest.mark.slow
def test_the_tests_of_all_recipes_pass_and_their_configuration_fits_its_constructors(followed):
    tests = [name for name in recipe_files() if Path(name).name.startswith("test_")]
    choices = [name.removeprefix("conf/") for name in recipe_files() if name.startswith("conf/")]
    for check in ("test_config_fits_constructor", "test_config_begins_with_its_reason"):
        tests += [f"tests/stages/test_conf.py::{check}[{choice}]" for choice in choices]
    options = ["-q", "-p", "no:cacheprovider"]
    process = start_module(
        "pytest", *options, *tests, cwd=followed, PYTHONPATH=str(followed / "src")
    )
    output, _ = process.communicate()
    assert process.returncode == 0, output


def test_the_code_of_all_recipes_follows_the_style_of_the_package(followed):
    code = [name for name in recipe_files() if name.endswith(".py")]
    for arguments in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *arguments, *code]
        result = subprocess.run(command, cwd=followed, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("page", PAGES)
def test_a_page_wraps_at_100_columns(page):
    text = re.sub(r"<!--.*?-->", "", (REPOSITORY / page).read_text(), flags=re.DOTALL)
    lines = text.splitlines()
    long = [line for line in lines if len(line) > MAX_COLUMNS]
    assert [line for line in long if not line.startswith(("|", "    "))] == []  # tables, commands


def links_of(page):
    """The addresses of a page, without those in code."""
    text = (REPOSITORY / page).read_text()
    text = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
    inline = re.findall(r"\]\(([^)]+)\)", text)
    return inline + re.findall(r"^\[[^]]+\]: (\S+)$", text, re.MULTILINE)


def anchors_of(path):
    """The anchors of a page's headings, as GitHub and the site make them."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("page", PAGES)
def test_links_to_the_repository_lead_to_a_file_and_a_heading(page):
    dead = []
    for link in links_of(page):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (REPOSITORY / page).parent / name if name else REPOSITORY / page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("page", PAGES)
def test_links_to_other_places_have_the_form_of_an_address(page):
    addresses = [urlsplit(link) for link in links_of(page) if "://" in link]
    for address in addresses:
        assert address.scheme in {"https", "http"}, address
        assert re.fullmatch(r"[\w-]+(\.[\w-]+)+(:\d+)?", address.netloc), address
        assert address.scheme == "https" or address.hostname == "127.0.0.1", address


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_only_groups_and_choices_that_exist(page):
    text = (REPOSITORY / page).read_text()
    choices = re.findall(r"\b(source|network|loss|encoder|callbacks|scheduler|trainer)=(\w+)", text)
    recipes = recipe_files()
    for group, choice in choices:
        name = f"conf/{group}/{choice}.yaml"
        is_example = name in recipes or choice in {"NAME", "own", "orchard", "fruit", "street"}
        assert is_example or (REPOSITORY / name).is_file(), f"{group}={choice}"


def test_every_group_of_the_configuration_is_in_the_reference_table():
    text = (REPOSITORY / "README.md").read_text()
    table = text.partition("## Configuration")[2]
    groups = {path.name for path in (REPOSITORY / "conf").iterdir() if path.is_dir()}
    commands = {
        "check",
        "preview",
        "shard",
        "draw",
        "package",
    }  # each is described with its command
    assert {group for group in groups - commands if f"`{group}`" not in table} == set()
