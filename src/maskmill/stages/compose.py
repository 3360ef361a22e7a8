"""conf/ + params.yaml -> out/conf/: one resolved configuration per stage, which is what DVC watches.

`dvc repro` does not compose Hydra configurations, so this stage does, first of all. Each file holds only the groups its stage reads
(`stages` in conf/config.yaml), so a changed value runs exactly the stages that read it.
"""

import logging
import sys
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from maskmill.canonical.files import write_text
from maskmill.stages.entry import conf_folder

log = logging.getLogger(__name__)

PARAMS = Path("params.yaml")
OUT = Path("out/conf")
# A resolved file is a complete Hydra configuration: its program runs in place and logs to the terminal only.
HYDRA = {"run": {"dir": "."}, "output_subdir": None}
LOGGING = [{"override hydra/job_logging": "stdout"}, "_self_"]


def compose_stages(params: Path = PARAMS, out: Path = OUT) -> list[Path]:
    """Write one resolved configuration file per stage.

    Args:
        params: YAML with `group` (choices, as `network: unet`) and `set` (values, as `optimizer: {lr: 1e-3}`).
        out: folder for the files.

    Returns:
        the files written.

    Raises:
        ValueError: params.yaml is not of that form, or names what the configuration does not have.
    """
    overrides = read_overrides(params)
    try:
        with initialize_config_dir(str(conf_folder().resolve()), version_base="1.3"):
            cfg = compose("config", overrides)
        resolved = OmegaConf.to_container(cfg, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(
            f"{params}: {' '.join(str(error).split())} - mend the line in {params} or the file under conf/"
        ) from error
    assert isinstance(resolved, dict)
    paths = []
    for stage, keys in resolved["stages"].items():
        content = {"defaults": LOGGING, "hydra": HYDRA} | {key: resolved[key] for key in keys}
        paths.append(write_text(out / f"{stage}.yaml", yaml.safe_dump(content, sort_keys=False)))
    return paths


def read_overrides(params: Path) -> list[str]:
    """The Hydra overrides that a params.yaml stands for.

    Raises:
        ValueError: the file is missing, no mapping, or has other keys than `group` and `set`.
    """
    if not params.is_file():
        raise ValueError(
            f"{params}: expected the overrides of the pipeline here, but there is no such file - run in the repository root"
        )
    content = yaml.safe_load(params.read_text(encoding="utf-8")) or {}
    if not isinstance(content, dict) or set(content) - {"group", "set"}:
        raise ValueError(
            f"{params}: expected only `group:` and `set:` at the top, but got {content!r} - move values under `set:`"
        )
    groups = [f"{key}={_spell(value)}" for key, value in (content.get("group") or {}).items()]
    return groups + _flatten(content.get("set") or {})


def _flatten(values: dict[str, Any], prefix: str = "") -> list[str]:
    lines = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        lines += (
            _flatten(value, f"{name}.")
            if isinstance(value, dict) and value
            else [f"{name}={_spell(value)}"]
        )
    return lines


def _spell(value: Any) -> str:
    """Spell a YAML value in Hydra's override grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(_spell(item) for item in value)}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_spell(item)}" for key, item in value.items()) + "}"
    text = str(value)
    return (
        text
        if _is_number(text) or text.replace("_", "").isalnum()
        else "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    )


def _is_number(text: str) -> bool:
    try:
        float(text)  # YAML reads 1e-3 as a string, Hydra as a number
    except ValueError:
        return False
    return True


def main() -> None:
    """Compose in the current folder, as the pipeline's first stage does."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    if len(sys.argv) > 1:
        sys.stderr.write(
            f"compose takes no overrides, but got {sys.argv[1:]} - put them into {PARAMS}\n"
        )
        sys.exit(2)
    try:
        paths = compose_stages()
    except ValueError as error:
        log.error("%s", error)
        sys.exit(1)
    log.info("composed %d stages -> %s", len(paths), OUT)


if __name__ == "__main__":
    main()
