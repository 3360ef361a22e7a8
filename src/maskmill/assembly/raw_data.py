"""The raw data set that a configuration names, opened for reading."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from maskmill.assembly.build import build
from maskmill.assembly.code_digests import code_digests, target_modules
from maskmill.sources.archives import unpacked
from maskmill.sources.convert import Converter, Shown
from maskmill.sources.source import Source


@contextmanager
def opened_source(cfg: DictConfig) -> Iterator[tuple[Converter, Source, Shown]]:
    """The converter of `cfg.prepare` and the source of `cfg.source`.

    Yields:
        both, and a pair of paths: findings show the second in place of the first, since the
        folder of an unpacked archive no longer exists when they are read.
    """
    with unpacked(Path(cfg.source.root)) as root:
        shown = (str(root), str(cfg.source.root))
        is_archive = shown[0] != shown[1]
        if is_archive:
            cfg.prepare.cache = None  # unpacked files are new each time
        converter = build(cfg.prepare, Converter, code_digest=conversion_code(cfg))
        _set_root(cfg.source, str(root))
        # the base class of what is built
        source = build(cfg.source, Source)  # type: ignore[type-abstract]
        yield converter, source, shown if is_archive else ("", "")


def conversion_code(cfg: DictConfig) -> str:
    """The digests of all code that converts this source, as one text."""
    modules = {"maskmill.sources.convert"} | target_modules(
        OmegaConf.to_container(cfg.source, resolve=True)
    )
    return " ".join(code_digests(modules).values())


def _set_root(node: DictConfig, root: str) -> None:
    """Set the root of a source, and of the sources it is made of."""
    node.root = root
    for value in node.values():
        if isinstance(value, DictConfig) and "root" in value:
            _set_root(value, root)
