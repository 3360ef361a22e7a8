"""Label maps against ground truth -> metrics, tables and a report."""

import logging
from collections.abc import Mapping

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.settings import EvaluateSettings
from maskmill.canonical.output_folder import require_replaceable
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)


@stage
def main(cfg: DictConfig) -> None:
    """Score, write, and add the result to the MLflow run of the predicting model."""
    settings = build(cfg.evaluate, EvaluateSettings)
    inputs = (settings.target, settings.prediction, settings.images, settings.baseline)
    present = [path for path in inputs if path is not None]
    require_replaceable(settings.out, written_by="evaluate", inputs=present)
    from maskmill.assembly.scoring import (  # a second to import: not for --help
        evidence_of,
        predicting_model,
        score,
    )
    from maskmill.reporting.evaluation_folder import write_evaluation

    gallery = score(settings)
    analysis = gallery.analysis
    evidence = evidence_of(settings, analysis.evaluation)
    write_evaluation(settings.out, gallery, evidence)
    if evidence is not None and evidence.other_images:
        log.warning(
            "%d images were predicted from other files than those in %s, first %s: the scores "
            "cannot be registered - run `maskmill predict` on these images",
            len(evidence.other_images),
            settings.images or settings.target,
            evidence.other_images[0],
        )
    scores = {name: value for name, value in analysis.scores.items() if value is not None}
    log.info("%s -> %s", _headline(scores), settings.out)
    model = predicting_model(settings.prediction)
    if model is not None:
        from maskmill.tracking.lineage import log_evaluation  # MLflow, for our own models only

        log_evaluation(model, settings.out, scores, analysis.bounds)


def _headline(scores: Mapping[str, float]) -> str:
    names = [name for name in ("PQ", "mIoU", "AP") if name in scores]
    return "  ".join(f"{name} {100 * scores[name]:.2f} %" for name in names)


if __name__ == "__main__":
    main()
