"""A version of the registry -> champion, by hand and with a reason."""

import logging

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.registry_settings import PromoteSettings
from maskmill.stages.entry import stage
from maskmill.tracking.address import check_store, tracking_uri

log = logging.getLogger(__name__)


@stage
def main(cfg: DictConfig) -> None:
    """Move the alias and keep the reason."""
    settings = build(cfg.promote, PromoteSettings)
    check_store(tracking_uri())
    from maskmill.tracking.models import registry_lock, version_of  # MLflow: not for --help
    from maskmill.tracking.promotion import promote

    version = version_of(settings.model)
    with registry_lock(version.name):
        promote(version, settings.reason)
    log.info("%s version %s is champion (%s)", version.name, version.version, settings.reason)


if __name__ == "__main__":
    main()
