"""Label maps against the truth -> numbers, tables and a report; the predictions may be anyone's."""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from omegaconf import DictConfig

from maskmill.canonical.files import read_json
from maskmill.stages.build import build
from maskmill.stages.entry import stage

if TYPE_CHECKING:
    from maskmill.reporting.examples import Gallery

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
        num_examples: pictures in the report, of each kind: the worst images, the best, what changed most; twice as many mistakes.
        void: unlabelled pixels of the truth: ignore forgives predictions there (COCO), background does not; auto: background where
            every category is a thing.
        void_in_union: PQ leaves the truth's void in the union of two segments, as BDD100K and deeplab2 count; COCO takes it out.
        baseline: another prediction of the same images, to compare with pair by pair; null: none.
        tags: a CSV file `image,<tag>[,<tag>...]`, each column a way to slice the images; null: none.
        num_resamples: of the images, behind the 95 % intervals; 0: no intervals.
        seed: of the resampling.
    """

    target: Path
    prediction: Path
    out: Path
    images: Path | None
    workers: int
    num_examples: int
    void: Literal["auto", "ignore", "background"]
    void_in_union: bool = False
    baseline: Path | None = None
    tags: Path | None = None
    num_resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(
                f"Expected `evaluate.workers` of 1 or more, but got {self.workers} - name a number of processes"
            )
        if self.num_examples < 0:
            raise ValueError(
                f"Expected `evaluate.num_examples` of 0 or more, but got {self.num_examples} - 0 shows none"
            )
        if self.num_resamples < 0:
            raise ValueError(
                f"Expected `evaluate.num_resamples` of 0 or more, but got {self.num_resamples} - 0 makes no intervals"
            )
        if self.images is not None and not self.images.is_dir():
            raise FileNotFoundError(
                f"{self.images}: expected the folder of the images, but there is none - check `evaluate.images`"
            )


@stage
def main(cfg: DictConfig) -> None:
    """Score, write, and add the result to the MLflow run of the model that predicted, where there is one."""
    settings = build(cfg.evaluate, Settings)
    from maskmill.reporting.evaluation_folder import require_replaceable, write_evaluation

    require_replaceable(settings.out)  # before the work, not after it
    gallery = analysed(settings)
    write_evaluation(settings.out, gallery)
    analysis = gallery.analysis
    scores = {name: value for name, value in analysis.scores.items() if value is not None}
    log.info(
        "%s -> %s",
        "  ".join(
            f"{name} {100 * scores[name]:.2f} %" for name in ("PQ", "mIoU", "AP") if name in scores
        ),
        settings.out,
    )
    model = fingerprint_of(settings.prediction)
    if model is not None:
        from maskmill.tracking.lineage import log_evaluation

        log_evaluation(model, settings.out, scores, analysis.bounds)


def analysed(settings: Settings) -> "Gallery":
    """The analysis that the settings ask for, and its pictures."""
    from maskmill.canonical.folder import PanopticFolder
    from maskmill.metrics.analysis import analyse
    from maskmill.metrics.bootstrap import Resampling
    from maskmill.metrics.evaluation import evaluate_folders
    from maskmill.metrics.slices import read_tags
    from maskmill.reporting.examples import Gallery

    truth = PanopticFolder(settings.target)
    images = settings.images or truth.image_folder
    tags = (
        None
        if settings.tags is None
        else read_tags(settings.tags, [record.file_name for record in truth.records])
    )
    background, in_union = BACKGROUND[settings.void], settings.void_in_union
    scored = partial(
        evaluate_folders,
        settings.target,
        background=background,
        void_in_union=in_union,
        workers=settings.workers,
    )
    evaluation = scored(prediction=settings.prediction)
    baseline = None if settings.baseline is None else scored(prediction=settings.baseline)
    resampling = Resampling(settings.num_resamples, settings.seed)
    analysis = analyse(
        evaluation,
        resampling,
        images=images,
        tags=tags or (),
        baseline=baseline,
        workers=settings.workers,
    )
    return Gallery.of(
        analysis,
        truth,
        settings.prediction,
        images=images,
        num_examples=settings.num_examples,
        baseline=settings.baseline,
    )


def fingerprint_of(prediction: Path) -> str | None:
    """The model that made a prediction, where `predict` wrote it down."""
    path = prediction / "prediction.json"
    fingerprint = read_json(path).get("model") if path.is_file() else None
    return None if fingerprint is None else str(fingerprint)


if __name__ == "__main__":
    main()
