"""The tracking store -> MLflow's pages, in a browser."""

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.settings import UiSettings
from maskmill.stages.entry import stage
from maskmill.tracking.address import check_store, shown, tracking_uri


@stage
def main(cfg: DictConfig) -> None:
    """Serve the pages until Ctrl+C."""
    settings = build(cfg.ui, UiSettings)
    uri = tracking_uri()
    if uri.startswith(("http://", "https://")):
        raise ValueError(
            f"MLFLOW_TRACKING_URI={shown(uri)}: expected a database, but got a server, which has "
            "these pages itself - open this address in a browser"
        )
    check_store(uri)
    from maskmill.tracking.ui import serve_pages  # MLflow: not for --help

    serve_pages(settings.host, settings.port)


if __name__ == "__main__":
    main()
