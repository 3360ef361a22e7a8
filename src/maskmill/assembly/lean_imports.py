"""Imports Lightning and torchmetrics without packages that maskmill does not use in them.

Wherever they are installed, torchmetrics imports matplotlib for its plots, transformers for its
metrics of text, and scipy.signal for a name that it once had: more processor time than torch takes.
Lightning imports the file systems of object stores, to ask whether a folder is one of theirs.
"""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError

from lightning_utilities.core import imports

from maskmill.assembly.targets import read_project_targets

# Metrics that compute with scipy ask for it when they are used, and find it.
UNUSED = ("matplotlib", "scipy", "transformers")


def import_torchmetrics() -> None:
    """Import torchmetrics without its plots and its metrics of text; call it before Lightning.

    Lightning then imports no object store either. A project that lists code of its own gets all of
    torchmetrics, since its code may plot a metric.

    Raises:
        ValueError: the list of the project has another form.
    """
    if "torchmetrics" in sys.modules or read_project_targets().configuration:
        return
    gc.disable()  # nothing that is imported becomes garbage, and there is a million objects of it
    with _as_if_missing():
        import torchmetrics  # noqa: F401 - only here, where the packages seem to be missing
    _check_imported_storage_only()
    gc.freeze()
    # Otherwise onnx, which counts its objects, reports them as leaked at the end.
    atexit.register(gc.unfreeze)
    gc.enable()


def _check_imported_storage_only() -> None:
    """Let Lightning import no object store: without its package, no file system can be one."""
    from lightning.fabric.utilities import cloud_io

    is_available = cloud_io.module_available
    cloud_io.module_available = lambda name: name in sys.modules and is_available(name)


@contextmanager
def _as_if_missing() -> Iterator[None]:
    """Let torchmetrics find the packages as little as where they are not installed."""
    version, is_available = imports._version, imports.package_available

    def version_if_used(name: str) -> str:
        if name in UNUSED:
            raise PackageNotFoundError(name)
        return str(version(name))

    imports._version = version_if_used
    imports.package_available = lambda name: name not in UNUSED and is_available(name)
    try:
        yield
    finally:
        imports._version = version
        imports.package_available = is_available
        imports.module_available.cache_clear()
