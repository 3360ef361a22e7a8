"""The configuration that a command line or params.yaml gives, with the file of each value."""

import sys

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.provenance import (
    ConfigSettings,
    annotated_lines,
    compose_line,
    compose_params,
)
from maskmill.stages.entry import stage


@stage
def main(cfg: DictConfig) -> None:
    """Print it as YAML."""
    settings = build(cfg.config, ConfigSettings)
    line = list(HydraConfig.get().overrides.task)
    others = [override for override in line if not override.startswith("config.")]
    if settings.params is not None and others:
        raise ValueError(
            f"config.params: expected no other overrides, but got {' '.join(others)} - put them "
            f"into {settings.params}"
        )
    composed = compose_line(line) if settings.params is None else compose_params(settings.params)
    if settings.group is not None and settings.group not in composed.cfg:
        raise ValueError(
            f"config.group: expected a group, but got {settings.group!r} - choose one of "
            f"{', '.join(map(str, composed.cfg))}"
        )
    sys.stdout.write("".join(f"{text}\n" for text in annotated_lines(composed, settings.group)))


if __name__ == "__main__":
    main()
