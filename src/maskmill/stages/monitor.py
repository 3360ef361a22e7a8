"""What a model sees in use -> drift from its training data, estimated scores, images to label."""

import logging

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.settings import MonitorSettings
from maskmill.canonical.output_folder import require_replaceable
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)


@stage
def main(cfg: DictConfig) -> None:
    """Compare, write, and say what was found."""
    settings = build(cfg.monitor, MonitorSettings)
    inputs = [path for path in (settings.log, settings.images) if path is not None]
    require_replaceable(settings.out, written_by="monitor", inputs=inputs)
    from maskmill.assembly.monitoring import monitor  # a second to import: not for --help
    from maskmill.reporting.monitor_folder import write_comparison
    from maskmill.reporting.pages import format_interval, format_percent

    found = monitor(settings)
    comparison = found.comparison
    write_comparison(settings.out, comparison, model=found.model, prometheus=settings.prometheus)
    for drift in comparison.drifted:
        log.warning("%s drifted: %s, was %s", drift.feature, drift.current, drift.reference)
    for estimate in comparison.estimates:
        interval = format_interval((estimate.low, estimate.high))
        value = format_percent(estimate.value)
        log.info("%s is estimated as %s %% (%s) without labels", estimate.score, value, interval)
    num_drifted = len(comparison.drifted)
    log.info(
        "%d images, %d of %d features drifted, %d images to label -> %s",
        comparison.num_images,
        num_drifted,
        len(comparison.drifts),
        len(comparison.candidates),
        settings.out,
    )


if __name__ == "__main__":
    main()
