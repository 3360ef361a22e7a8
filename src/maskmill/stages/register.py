"""Model + numbers -> a version in the model registry, and the alias it has earned."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig

from maskmill.canonical.files import read_json, write_json
from maskmill.stages.build import build
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What to register, and what it takes to become champion.

    Args:
        name: of the registered model.
        model: a folder that `train` wrote.
        evaluation: what `evaluate` wrote for this model's predictions.
        images: a prepared split; its first image becomes the input example.
        out: version.json goes here.
        metric: the deciding one: PQ, PQ/thing or mIoU.
        margin: by how much a candidate must lead the champion.
        confidence: of that lead, by paired bootstrap over the images.
        run: MLflow run to register from; null finds the one that made the model.
    """

    name: str
    model: Path
    evaluation: Path
    images: Path
    out: Path
    metric: Literal["PQ", "PQ/thing", "mIoU"]
    margin: float
    confidence: float
    run: str | None = None


@stage
def main(cfg: DictConfig) -> None:
    """Register once, then decide the alias."""
    settings = build(cfg.register, Settings)
    metrics = read_json(settings.evaluation / "metrics.json")
    from maskmill.stages.registering import register

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
