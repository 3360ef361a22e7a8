"""Label maps against the truth -> numbers, tables and a report; the predictions may be anyone's."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig

from maskmill.canonical.files import read_json
from maskmill.stages.build import build
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)

BACKGROUND = {"auto": None, "ignore": False, "background": True}


@dataclass(frozen=True)
class Settings:
    """What to score against what.

    Args:
        target: a canonical folder or a COCO panoptic JSON file.
        prediction: the same, of the predictions.
        out: the results go here.
        images: folder of the images, for the report; null: beside the truth.
        workers: processes.
        num_examples: images in the report, of the worst and of the best.
        void: unlabelled pixels of the truth: ignore forgives predictions there (COCO), background does not; auto: background where
            every category is a thing.
    """

    target: Path
    prediction: Path
    out: Path
    images: Path | None
    workers: int
    num_examples: int
    void: Literal["auto", "ignore", "background"]


@stage
def main(cfg: DictConfig) -> None:
    """Score, write, and add the result to the MLflow run of the model that predicted, where there is one."""
    settings = build(cfg.evaluate, Settings)
    from maskmill.metrics.evaluation import evaluate_folders
    from maskmill.reporting.report import write_report
    from maskmill.reporting.tables import write_tables

    target, prediction = settings.target, settings.prediction
    evaluation = evaluate_folders(target, prediction, background=BACKGROUND[settings.void], workers=settings.workers)
    part = settings.out.with_name(f".{settings.out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    write_tables(part, evaluation)
    write_report(part / "report.html", evaluation, target, prediction, images=settings.images, num_examples=settings.num_examples)
    shutil.rmtree(settings.out, ignore_errors=True)
    part.rename(settings.out)
    scores = {name: value for name, value in evaluation.scores().items() if value is not None}
    log.info("%s -> %s", "  ".join(f"{name} {100 * scores[name]:.2f} %" for name in ("PQ", "mIoU", "AP") if name in scores), settings.out)
    if (prediction / "prediction.json").is_file():
        from maskmill.tracking.lineage import log_evaluation

        log_evaluation(read_json(prediction / "prediction.json")["model"], settings.out, scores)


if __name__ == "__main__":
    main()
