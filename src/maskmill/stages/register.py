"""Model + metrics -> a version in the model registry, and the alias it has earned."""

import logging
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.headline import HEADLINE, headline
from maskmill.assembly.rare_collection import rare_collection
from maskmill.assembly.settings import RegisterSettings
from maskmill.stages.entry import stage
from maskmill.tracking.address import check_store, tracking_uri

log = logging.getLogger(__name__)


@stage
def main(cfg: DictConfig) -> None:
    """Register once, then decide the alias."""
    settings = build(cfg.register, RegisterSettings)
    check_store(tracking_uri())
    with rare_collection():
        # MLflow takes seconds: not for --help
        from maskmill.assembly.registration import Registration

        registration = Registration(settings)
        version = registration.run()
    name, number = version["name"], version["version"]
    log.info(
        "%s version %s is %s (%s) -> %s",
        name,
        number,
        version["alias"] or "neither champion nor challenger",
        version["reason"],
        settings.out,
    )
    shown = {
        "scores": _scores(registration.settings.metric, registration.metrics),
        "report": f"{settings.evaluation}/report.html",
        "runs, curves, models": "maskmill ui",
        "try the model": f"maskmill serve serve.model=models:/{name}/{number}",
    }
    for title, text in shown.items():
        log.info("%-22s%s", title, text)


def _scores(metric: str, metrics: Mapping[str, Any]) -> str:
    names = [metric, *HEADLINE]
    scores = {name: metrics[name] for name in names if metrics.get(name) is not None}
    return headline(scores, metrics.get("interval", {}).get(metric))


if __name__ == "__main__":
    main()
