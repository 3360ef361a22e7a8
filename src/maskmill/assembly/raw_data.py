"""The raw data set a configuration names, opened to be read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.sources.archives import unpacked
from maskmill.sources.convert import Converter, Shown
from maskmill.sources.source import Source


@contextmanager
def opened(cfg: DictConfig) -> Iterator[tuple[Converter, Source, Shown]]:
    """The converter of `cfg.prepare` and the source of `cfg.source`.

    Yields:
        both, and how findings shall call the folder: that of an unpacked archive is gone when they are read.
    """
    with unpacked(Path(cfg.source.root)) as root:
        shown = (str(root), str(cfg.source.root))
        is_archive = shown[0] != shown[1]
        if is_archive:
            cfg.prepare.cache = None  # files just unpacked are new, each time
        converter = build(cfg.prepare, Converter)
        _set_root(cfg.source, str(root))
        source = build(cfg.source, Source)  # type: ignore[type-abstract]  # asked for as the base of what is built
        yield converter, source, shown if is_archive else ("", "")


def _set_root(node: DictConfig, root: str) -> None:
    """Set the root of a source, and of the sources it is made of."""
    node.root = root
    for value in node.values():
        if isinstance(value, DictConfig) and "root" in value:
            _set_root(value, root)
