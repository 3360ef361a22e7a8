"""The notebooks: every cell runs, each value is shown, and none is stored with its results."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from commands import SMALL_ENCODER, command_environment, preloaded_python, server_folder
from notebook_cells import as_program, read_cells

REPOSITORY = Path(__file__).parents[1]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
SHORTER = {
    "conf/encoder/resnet10t.yaml": ("name: resnet10t", f"name: {SMALL_ENCODER}"),
    "conf/trainer/cpu.yaml": ("max_epochs: 30", "max_epochs: 2"),
    "conf/data/default.yaml": ("num_workers: 2", "num_workers: 0"),
    "conf/prepare/default.yaml": ("workers: -1", "workers: 1"),
    "conf/evaluate/default.yaml": ("num_resamples: 1000", "num_resamples: 20"),
}
# Folder that the notebook works in, and what its cells show at least.
SHOWN = {
    "1_first_steps": ("street", ["Checked with 0", "Trained with 2", "Predicted with 2", "Scored"]),
    "2_your_own_data": (
        "orchard",
        ["Checked with 0", "Trained with 2", "Predicted with 2", "Image"],
    ),
    "3_read_a_report": ("report", ["Prepared with 0", "Scored with 0", "DataFrame"]),
}


@pytest.fixture
def folder(tmp_path):
    """A folder with programs that fork, and with shorter settings in the project of a notebook."""
    preloaded_python()
    text = f'#!/bin/sh\nexec {preloaded_python()} -m maskmill.stages.cli "$@"\n'
    (tmp_path / "maskmill").write_text(text)
    (tmp_path / "maskmill").chmod(0o755)
    for project, _ in SHOWN.values():
        for name, (old, new) in SHORTER.items():
            content = (REPOSITORY / name).read_text()
            assert old in content, name
            (tmp_path / project / name).parent.mkdir(parents=True)
            (tmp_path / project / name).write_text(content.replace(old, new))
        shutil.copy(server_folder() / "mlflow.db", tmp_path / project)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs_and_shows_its_value(path, folder):
    (folder / "notebook.py").write_text(as_program(read_cells(path)))
    environment = command_environment(PATH=os.pathsep.join([str(folder), os.environ["PATH"]]))
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = [server_folder() / "python", "-m", "notebook"]
    done = subprocess.run(command, cwd=folder, env=environment, timeout=300, check=False, **streams)
    assert done.returncode == 0, done.stdout
    shown = re.findall(r"^cell \S+: (.*)$", done.stdout, re.MULTILINE)
    for value in SHOWN[path.stem][1]:
        assert any(line.startswith(value) for line in shown), (value, shown)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stored_without_results(path):
    cells = read_cells(path)
    assert [cell.id for cell in cells if not cell.is_clean] == []
    assert len({cell.id for cell in cells}) == len(cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_of_notebooks_lead_to_files(path):
    texts = [cell.text for cell in read_cells(path) if not cell.is_code]
    links = re.findall(r"\]\(([^)#]+)\)", "\n".join(texts))
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert missing == []


def test_readme_and_the_page_on_python_lead_to_every_notebook():
    assert {path.stem for path in NOTEBOOKS} == set(SHOWN)
    for page, folder in (("README.md", "notebooks"), ("docs/python.md", "../notebooks")):
        text = (REPOSITORY / page).read_text()
        assert [path.name for path in NOTEBOOKS if f"({folder}/{path.name})" not in text] == []
