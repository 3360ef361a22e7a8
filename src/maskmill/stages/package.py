"""Model -> a folder from which Docker builds its server."""

import logging

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.serving import PackageSettings
from maskmill.serving.server.container import write_container
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)


@stage
def main(cfg: DictConfig) -> None:
    """Write the files that build and run the server."""
    settings = build(cfg.package, PackageSettings)
    write_container(settings.out, model=settings.model, port=settings.port)
    log.info("cd %s && MASKMILL_API_KEY=... docker compose up --build", settings.out)


if __name__ == "__main__":
    main()
