"""A stage inside the caller's process, with the configuration that its command has."""

import copy
import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobRuntime
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.version import VersionBase
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from maskmill.assembly.command_line import check_flags, quote_paths, read_mappings
from maskmill.assembly.conf_search_path import (
    check_project_conf,
    packaged_conf,
    register_search_path,
)
from maskmill.assembly.override_errors import explain_broken_file, explain_override
from maskmill.assembly.suggestions import check_top_level
from maskmill.assembly.unchanged_process import unchanged_process
from maskmill.stages.resources import message_of, missing_threads_as_os_errors


@contextmanager
def configured(
    overrides: Sequence[str],
    project: str | os.PathLike[str] | None = None,
    *,
    given: Sequence[str] = (),
) -> Iterator[DictConfig]:
    """Run in a project, with the configuration of a command and these overrides.

    Args:
        overrides: as on the line of the command.
        project: its folder; None: the current folder.
        given: overrides that come first.

    Yields:
        the configuration. The body may call the function of a stage, see `function_of`.

    Raises:
        ValueError: an override or a file of the project is wrong, or asks for a sweep; or of the
            body.
        OSError: of the body, with what to do; MemoryError in the same way.
    """
    with unchanged_process(project), _same_hydra(), _explained():
        if isinstance(overrides, str):
            raise ValueError(
                f"overrides: expected a list, but got {overrides!r} - write [{overrides!r}]"
            )
        check_project_conf()
        check_flags(overrides)
        line = [*given, *quote_paths(overrides)]
        with _explained_overrides(line):
            cfg = _composed(line)
            check_top_level(cfg)
            read_mappings(cfg, line)
            yield cfg


def _composed(line: list[str]) -> DictConfig:
    """What a command has; the stages ask Hydra for the choices, too."""
    register_search_path()
    try:
        with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
            cfg = compose("config", line, return_hydra_config=True)
    except (YAMLError, UnicodeDecodeError) as error:
        raise ValueError(explain_broken_file(error, line)) from error
    if cfg.hydra.mode == RunMode.MULTIRUN:
        raise ValueError(
            f"Expected the overrides of one job, but {' '.join(line)} is a sweep - run it on the "
            "command line as `maskmill train -m`"
        )
    HydraConfig.instance().set_config(cfg)
    own: DictConfig = copy.deepcopy(cfg)
    with open_dict(own):
        del own["hydra"]
    return own


def function_of(command: Callable[[], Any]) -> Callable[[DictConfig], Any]:
    """The function that `stage` has made a command."""
    function: Callable[[DictConfig], Any] = inspect.unwrap(command)
    return function


@contextmanager
def _same_hydra() -> Iterator[None]:
    """Leave a Hydra program of the caller its configuration and plugins."""
    program = GlobalHydra.instance()
    hydra = program.hydra
    program.clear()
    before = []
    for singleton in (HydraConfig, JobRuntime, Plugins, VersionBase):
        instance = singleton.instance()
        before.append((instance, copy.deepcopy(vars(instance))))
    try:
        yield
    finally:
        Singleton._instances[GlobalHydra] = program  # Hydra puts a copy in its place
        program.hydra = hydra
        for instance, values in before:
            vars(instance).clear()
            vars(instance).update(values)


@contextmanager
def _explained_overrides(line: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(explain_override(error, line)) from error


@contextmanager
def _explained() -> Iterator[None]:
    """Say what to do about errors of the machine."""
    try:
        with missing_threads_as_os_errors():
            yield
    except (OSError, MemoryError) as error:
        message = message_of(error)
        if message == str(error):
            raise
        explained = type(error)(message)
        if isinstance(error, OSError) and isinstance(explained, OSError):
            explained.errno = error.errno
        raise explained from error
