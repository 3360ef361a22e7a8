"""Model + metrics -> a version in the model registry, and the alias it has earned."""

import logging

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.settings import RegisterSettings
from maskmill.stages.entry import stage
from maskmill.tracking.address import check_store, tracking_uri

log = logging.getLogger(__name__)


@stage
def main(cfg: DictConfig) -> None:
    """Register once, then decide the alias."""
    settings = build(cfg.register, RegisterSettings)
    check_store(tracking_uri())
    from maskmill.assembly.registration import Registration  # torch takes seconds: not for --help

    version = Registration(settings).run()
    log.info(
        "%s version %s is %s (%s) -> %s",
        version["name"],
        version["version"],
        version["alias"] or "neither champion nor challenger",
        version["reason"],
        settings.out,
    )


if __name__ == "__main__":
    main()
