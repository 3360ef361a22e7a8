"""Model + numbers -> a version in the model registry, and the alias it has earned."""

import logging

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.settings import RegisterSettings
from maskmill.canonical.files import read_json, write_json
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)


@stage
def main(cfg: DictConfig) -> None:
    """Register once, then decide the alias."""
    settings = build(cfg.register, RegisterSettings)
    metrics = read_json(settings.evaluation / "metrics.json")
    from maskmill.assembly.registration import register

    version = register(settings, metrics)
    write_json(settings.out / "version.json", version)
    log.info(
        "%s version %s is %s (%s) -> %s",
        version["name"],
        version["version"],
        version["alias"],
        version["reason"],
        settings.out,
    )


if __name__ == "__main__":
    main()
