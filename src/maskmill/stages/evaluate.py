"""Label maps against the truth -> numbers, tables and a report; the predictions may be anyone's."""

import logging
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

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"Expected `evaluate.workers` of 1 or more, but got {self.workers} - name a number of processes")
        if self.num_examples < 0:
            raise ValueError(f"Expected `evaluate.num_examples` of 0 or more, but got {self.num_examples} - 0 shows none")
        if self.images is not None and not self.images.is_dir():
            raise FileNotFoundError(f"{self.images}: expected the folder of the images, but there is none - check `evaluate.images`")


@stage
def main(cfg: DictConfig) -> None:
    """Score, write, and add the result to the MLflow run of the model that predicted, where there is one."""
    settings = build(cfg.evaluate, Settings)
    from maskmill.metrics.evaluation import evaluate_folders
    from maskmill.reporting.evaluation_folder import require_replaceable, write_evaluation

    target, prediction, out = settings.target, settings.prediction, settings.out
    require_replaceable(out)  # before the work, not after it
    evaluation = evaluate_folders(target, prediction, background=BACKGROUND[settings.void], workers=settings.workers)
    write_evaluation(out, evaluation, target, prediction, images=settings.images, num_examples=settings.num_examples)
    scores = {name: value for name, value in evaluation.scores().items() if value is not None}
    log.info("%s -> %s", "  ".join(f"{name} {100 * scores[name]:.2f} %" for name in ("PQ", "mIoU", "AP") if name in scores), out)
    model = fingerprint_of(prediction)
    if model is not None:
        from maskmill.tracking.lineage import log_evaluation

        log_evaluation(model, out, scores)


def fingerprint_of(prediction: Path) -> str | None:
    """The model that made a prediction, where `predict` wrote it down."""
    path = prediction / "prediction.json"
    fingerprint = read_json(path).get("model") if path.is_file() else None
    return None if fingerprint is None else str(fingerprint)


if __name__ == "__main__":
    main()
