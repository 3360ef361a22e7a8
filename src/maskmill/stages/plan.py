"""Prepared data and this machine -> an experiment with the reason for each choice."""

import logging

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.lean_imports import import_torchmetrics
from maskmill.assembly.plan_settings import PlanSettings
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)


@stage
def main(cfg: DictConfig) -> None:
    """Plan, write the experiment, and say how to train it."""
    settings = build(cfg.plan, PlanSettings)
    import_torchmetrics()
    from maskmill.assembly.planning import make_plan  # torch takes seconds to import

    plan = make_plan(settings, HydraConfig.get().overrides.task)
    for choice in plan.choices:
        log.info("%-32s %s  (%s)", choice.key, choice.value, choice.reason)
    name = plan.path.stem
    log.info("%d choices -> %s", len(plan.choices), plan.path)
    log.info("train it: maskmill train experiment=%s", name)
    log.info(
        "in the pipeline: write `group: {experiment: %s}` into params.yaml, then `dvc repro`; or "
        "try it with dvc exp run -S group.experiment=%s",
        name,
        name,
    )


if __name__ == "__main__":
    main()
