"""The shipped configurations of sources, built as the stages build them."""

from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir

from maskmill.assembly.build import build
from maskmill.sources.source import Source

CONF = Path(__file__).parents[1] / "conf"


@cache
def composed(name, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [f"source={name}", *overrides]).source


def shipped(name, root, *overrides):
    """The source `conf/source/NAME.yaml`, which reads the folder `root`."""
    cfg = composed(name, *overrides).copy()
    cfg.root = str(root)
    return build(cfg, Source)
