"""A new project folder of a user's own: a pipeline, an example configuration and drawn data."""

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from maskmill.assembly.build import build
from maskmill.assembly.conf_search_path import packaged_conf
from maskmill.canonical.files import write_text
from maskmill.sources.scenes import SceneSet

TEMPLATES = Path(__file__).parent / "project_files"
# Template -> file in the project. The names differ where DVC or git would read the template itself.
FILES = {
    "pipeline.yaml": "dvc.yaml",
    "params.yaml": "params.yaml",
    "lineage.yaml": "lineage.yaml",
    "gitignore": ".gitignore",
    "dvcignore": ".dvcignore",
    "README.md": "README.md",
    "own.yaml": "conf/source/own.yaml",
    "targets.yaml": "conf/targets.yaml",
}


@dataclass(frozen=True)
class NewProject:
    """A project folder that was just written.

    Args:
        folder: its path.
        inside_repository: it lies in a git repository that existed before.
    """

    folder: Path
    inside_repository: bool

    @property
    def next_commands(self) -> str:
        """The shell commands that lead from here to a registered model."""
        init = "dvc init --subdir" if self.inside_repository else "dvc init"
        return f"cd {self.folder} && {init} && dvc repro"


def create_project(folder: Path) -> NewProject:
    """Write a project that `dvc init && dvc repro` runs; a failure leaves the folder empty.

    Args:
        folder: does not exist yet, or is empty.

    Raises:
        FileExistsError: `folder` is a file or a folder with content.
        ValueError: git is not installed.
    """
    _require_empty(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".maskmill-new-") as temporary:
        draft = Path(temporary)
        for template, name in FILES.items():
            write_text(draft / name, (TEMPLATES / template).read_text(encoding="utf-8"))
        _draw_scenes(draft / "data")
        inside_repository = _init_git(draft)
        for path in draft.iterdir():
            path.replace(folder / path.name)
    return NewProject(folder, inside_repository)


def _require_empty(folder: Path) -> None:
    is_taken = any(folder.iterdir()) if folder.is_dir() else folder.exists()
    if is_taken:
        raise FileExistsError(
            f"{folder}: expected a new or empty folder, but it has content - "
            "either choose another name or move the content away"
        )


def _draw_scenes(folder: Path) -> None:
    node = OmegaConf.load(packaged_conf() / "draw" / "default.yaml")
    node.out = str(folder)
    build(OmegaConf.create({"draw": node}).draw, SceneSet).write()


def _init_git(folder: Path) -> bool:
    """Make a git repository unless the folder is in one already; say whether it was."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--is-inside-work-tree"],
            cwd=folder,
            capture_output=True,
            check=False,
        )
        if found.returncode == 0:
            return True
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    except FileNotFoundError as error:
        raise ValueError(
            "Expected the program git, which DVC needs, but it is not installed - install git"
        ) from error
    return False
