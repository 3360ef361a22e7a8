"""The shipped configurations of sources, as the stages build them."""

from pathlib import Path

from hydra import compose, initialize_config_dir

from maskmill.assembly.build import build
from maskmill.sources.source import Source

CONF = Path(__file__).parents[1] / "conf"


def shipped(name, root, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [f"source={name}", f"source.root={root}", *overrides])
    return build(cfg.source, Source)
