"""Where configuration files are found: the project's own conf/ first, the packaged one behind it."""

from pathlib import Path

import maskmill


def packaged_conf() -> Path:
    """The configuration files of this package: maskmill/conf of an installed one, conf/ of a source tree."""
    package = Path(maskmill.__file__).parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def register_search_path() -> None:
    """Have Hydra look into ./conf before the packaged configuration."""
