"""The champion before the present one -> champion again, with a reason."""

import logging

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.registry_settings import RollbackSettings
from maskmill.stages.entry import stage
from maskmill.tracking.address import check_store, tracking_uri

log = logging.getLogger(__name__)


@stage
def main(cfg: DictConfig) -> None:
    """Move the alias back and keep the reason."""
    settings = build(cfg.rollback, RollbackSettings)
    check_store(tracking_uri())
    from maskmill.tracking.models import registry_lock  # MLflow: not for --help
    from maskmill.tracking.promotion import rollback

    with registry_lock(settings.name):
        version = rollback(settings.name, settings.reason)
    log.info("%s version %s is champion again (%s)", version.name, version.version, settings.reason)


if __name__ == "__main__":
    main()
