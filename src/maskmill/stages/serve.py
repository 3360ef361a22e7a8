"""Model -> an HTTP server that segments images, with a page to try it."""

import functools
import logging

from omegaconf import DictConfig

from maskmill.stages.entry import stage

log = logging.getLogger(__name__)


@stage
def main(cfg: DictConfig) -> None:
    """Serve a model until SIGTERM."""
    from maskmill.assembly.build import build  # with torch, seconds to import: not for --help
    from maskmill.assembly.serving import ServeSettings
    from maskmill.serving.server.application import create_application
    from maskmill.serving.server.http_server import run_server
    from maskmill.serving.server.metrics import Metrics
    from maskmill.serving.server.service import Service
    from maskmill.tracking.aliases import version_behind

    settings = build(cfg.serve, ServeSettings)
    api_key = settings.api_key()
    service = Service(
        settings.loader(),
        functools.partial(version_behind, settings.model),
        batching=settings.batching,
        limits=settings.limits,
        metrics=Metrics(),
    )
    application = create_application(service, api_key=api_key)
    keys = "clients send the API key" if api_key else "no API key is asked for"
    log.info("http://%s:%s, %s", settings.host, settings.port, keys)
    run_server(application, service, host=settings.host, port=settings.port)


if __name__ == "__main__":
    main()
