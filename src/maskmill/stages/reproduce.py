"""A version of the registry -> trained again, and its weights compared."""

import logging
import sys

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.registry_settings import ReproduceSettings
from maskmill.assembly.worktree import interrupted_by_sigterm
from maskmill.stages.entry import stage
from maskmill.tracking.address import check_store, tracking_uri

log = logging.getLogger(__name__)


@stage
def main(cfg: DictConfig) -> None:
    """Train again; exit status 1 if the weights differ."""
    settings = build(cfg.reproduce, ReproduceSettings)
    check_store(tracking_uri())
    from maskmill.assembly.reproduction import reproduce  # torch takes seconds: not for --help

    with interrupted_by_sigterm():
        result = reproduce(settings)
    if result.is_same:
        log.info("%s has the same weights again: %s", settings.model, result.found)
        return
    reasons = "; ".join(result.reasons) or "machine and number of threads are the same"
    log.error(
        "%s: expected weights with the digest %s, but got %s - %s",
        settings.model,
        result.expected,
        result.found,
        reasons,
    )
    sys.exit(1)


if __name__ == "__main__":
    main()
