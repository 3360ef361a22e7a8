"""Several models -> one, which averages their outputs."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.ensemble import EnsembleSettings, write_ensemble
from maskmill.assembly.rare_collection import rare_collection
from maskmill.canonical.output_folder import require_replaceable
from maskmill.serving.model_files import ModelFiles, read_model
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)


@stage
def main(cfg: DictConfig) -> None:
    """Write the model, and add a run for it to MLflow."""
    settings = build(cfg.ensemble, EnsembleSettings)
    require_replaceable(settings.out, written_by="ensemble")
    members = [read_model(Path(name)) for name in settings.models]
    with rare_collection():  # torch takes seconds to import
        model = write_ensemble(members, settings.out)
    log.info(
        "model %s, the mean of %d models -> %s",
        model.fingerprint[:12],
        len(members),
        settings.out,
    )
    _track(model)
    for command in ("predict", "evaluate", "register"):
        log.info("maskmill %s train.out=%s", command, settings.out)


def _track(model: ModelFiles) -> None:
    try:
        from maskmill.assembly.run_report import add_ensemble  # MLflow takes seconds
        from maskmill.tracking.store import store_errors

        with store_errors():
            add_ensemble(model)
    except ValueError as error:
        log.warning("%s; the model is written, and the same command adds its run later", error)


if __name__ == "__main__":
    main()
