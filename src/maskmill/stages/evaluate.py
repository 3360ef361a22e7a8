"""Label maps against the truth -> numbers, tables and a report; the predictions may be anyone's."""

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.settings import EvaluateSettings
from maskmill.canonical.files import read_json
from maskmill.stages.entry import stage

if TYPE_CHECKING:
    from maskmill.reporting.examples import Gallery

log = logging.getLogger(__name__)

BACKGROUND = {"auto": None, "ignore": False, "background": True}


@stage
def main(cfg: DictConfig) -> None:
    """Score, write, and add the result to the MLflow run of the model that predicted, where there is one."""
    settings = build(cfg.evaluate, EvaluateSettings)
    from maskmill.canonical.output_folder import require_replaceable
    from maskmill.reporting.evaluation_folder import write_evaluation

    sources = (settings.target, settings.prediction, settings.images, settings.baseline)
    inputs = [path for path in sources if path is not None]
    require_replaceable(settings.out, written_by="evaluate", inputs=inputs)
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


def analysed(settings: EvaluateSettings) -> "Gallery":
    """The analysis that the settings ask for, and its pictures."""
    from maskmill.canonical.folder import PanopticFolder
    from maskmill.evaluation.analysis import analyse
    from maskmill.evaluation.bootstrap import Resampling
    from maskmill.evaluation.evaluation import evaluate_folders
    from maskmill.evaluation.slices import read_tags
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
    return Gallery.from_folders(
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
