"""Where configuration files are found: the project's conf/ first, the packaged one behind it."""

from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

import maskmill
from hydra_plugins.maskmill_ray import RayLauncher
from hydra_plugins.maskmill_submitit import SubmititLauncher
from hydra_plugins.maskmill_sweeper import OptunaSweeper
from maskmill.assembly.lean_defaults import list_choices_where_needed
from maskmill.canonical.yaml_file import read_yaml_text


def packaged_conf() -> Path:
    """The folder of maskmill's own configuration files.

    An installed package has it inside (maskmill/conf), a source tree at its top (conf/).
    """
    package = Path(maskmill.__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def project_conf() -> Path | None:
    """The conf/ folder of the project that a command runs in; None if that is the packaged one."""
    folder = Path.cwd() / "conf"
    is_own = folder.is_dir() and folder.resolve() != packaged_conf()
    return folder if is_own else None


def check_project_conf() -> None:
    """Check that the aliases in the project's own files stay small; Hydra expands any.

    Raises:
        ValueError: a file is not YAML, or its aliases expand to too many values.
    """
    folder = project_conf()
    for path in sorted(folder.rglob("*.yaml")) if folder is not None else []:
        read_yaml_text(path)


class ProjectConf(SearchPathPlugin):
    """Hydra plugin that puts the project's own conf/ in front of the packaged one.

    Hydra takes the first file of a name, so a project replaces a packaged file with one of the same
    name and adds choices with new names. It need not repeat the others.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Insert conf/ of the current folder, if it exists, before "main", the packaged one."""
        folder = project_conf()
        if folder is not None:
            search_path.prepend("project", f"file://{folder}", anchor="main")


def register_search_path() -> None:
    """Let Hydra search the project's own conf/; registering it again changes nothing.

    The launchers and the sweeper are registered too: Hydra finds them in a wheel and a source tree,
    but not in an editable install. And Hydra composes faster from then on (`lean_defaults`).
    """
    Plugins.instance().register(ProjectConf)
    Plugins.instance().register(OptunaSweeper)
    Plugins.instance().register(RayLauncher)
    Plugins.instance().register(SubmititLauncher)
    list_choices_where_needed()
