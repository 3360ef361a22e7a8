"""Label maps against ground truth -> metrics, tables and a report."""

import logging
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.headline import headline
from maskmill.assembly.lean_mlflow import import_mlflow
from maskmill.assembly.rare_collection import rare_collection
from maskmill.assembly.settings import EvaluateSettings
from maskmill.canonical.output_folder import require_replaceable
from maskmill.stages.entry import stage

if TYPE_CHECKING:
    from maskmill.assembly.scoring import Evaluated
    from maskmill.evaluation.evidence import Evidence

log = logging.getLogger(__name__)


@stage
def main(cfg: DictConfig) -> "Evaluated":
    """Score, write, and add the result to the MLflow run of the predicting model."""
    settings = build(cfg.evaluate, EvaluateSettings)
    inputs = [*settings.targets, *settings.predictions]
    inputs += [path for path in (settings.images, settings.baseline) if path is not None]
    require_replaceable(settings.out, written_by="evaluate", inputs=inputs)
    from maskmill.assembly.scoring import evaluate  # a second to import: not for --help

    evaluated = evaluate(settings)
    scores = headline(evaluated.scores)
    log.info("%s -> %s (every class and the mistakes: report.html in it)", scores, settings.out)
    if len(settings.targets) > 1:
        log.info("scores of several data sets are not added to MLflow")
    elif evaluated.evidence is not None:
        _track(evaluated, evaluated.evidence, settings)
    return evaluated


def _track(evaluated: "Evaluated", evidence: "Evidence", settings: EvaluateSettings) -> None:
    if evidence.other_images:
        log.warning(
            "%d images were predicted from other files than those in %s, first %s: these scores "
            "are not added to MLflow and cannot be registered - run `maskmill predict` on them",
            len(evidence.other_images),
            settings.images or settings.targets[0],
            evidence.other_images[0],
        )
        return
    try:
        _add_to_mlflow(evaluated, evidence, settings)
    except ValueError as error:
        log.warning(
            "%s; the evaluation is in %s, and `maskmill register` adds it later",
            error,
            settings.out,
        )


def _add_to_mlflow(
    evaluated: "Evaluated", evidence: "Evidence", settings: EvaluateSettings
) -> None:
    with rare_collection():  # MLflow, for our own models only
        import_mlflow()
        from maskmill.assembly.run_report import add_evaluation
        from maskmill.tracking.lineage import find_run
        from maskmill.tracking.store import store_errors

    with store_errors():
        run = find_run(evidence.model)
        if run is not None:
            bounds = evaluated.bounds
            add_evaluation(run, evidence.key, settings.out, evaluated.scores, bounds)
            return
    log.warning(
        "No MLflow run for model %s, so its evaluation is in %s only - "
        "train the model or make the ensemble here to have both",
        evidence.model[:12],
        settings.out,
    )


if __name__ == "__main__":
    main()
