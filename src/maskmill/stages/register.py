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

    registration = Registration(settings)
    version = registration.run()
    metric = registration.settings.metric
    log.info(
        "%s version %s with %s %.2f %% is %s (%s) -> %s",
        version["name"],
        version["version"],
        metric,
        100 * version[metric],
        version["alias"] or "neither champion nor challenger",
        version["reason"],
        settings.out,
    )
    log.info("every class and the mistakes: %s/report.html", settings.evaluation)
    log.info("runs, curves and models: maskmill ui")
    log.info(
        "try it: maskmill serve serve.model=models:/%s/%s", version["name"], version["version"]
    )


if __name__ == "__main__":
    main()
