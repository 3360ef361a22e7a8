"""Raw data -> what is wrong with it, and how to mend it; nothing is converted."""

import logging
import sys
from collections import Counter

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.raw_data import opened_source
from maskmill.assembly.settings import CheckSettings
from maskmill.canonical.files import write_json
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)

MAX_LINES = 100  # findings shown; the file has them all


@stage
def main(cfg: DictConfig) -> None:
    """Check the source; exit status 1 if there are errors."""
    settings = build(cfg.check, CheckSettings)
    with opened_source(cfg) as (converter, source, shown):
        dataset = converter.check(source, shown=shown)
    path = write_json(settings.out / "check.json", dataset)
    findings = dataset["findings"]
    for finding in findings[:MAX_LINES]:
        log.info(
            "%-7s  %s: %s - %s",
            finding["severity"],
            finding["file"],
            finding["what"],
            finding["fix"],
        )
    if len(findings) > MAX_LINES:
        log.info("... and %d more", len(findings) - MAX_LINES)
    counts = Counter(finding["severity"] for finding in findings)
    images = sum(row["num_images"] for row in dataset["splits"].values()) + len(dataset["problems"])
    log.info(
        "checked %d images: %d errors, %d warnings, %d notes -> %s",
        images,
        counts["error"],
        counts["warning"],
        counts["note"],
        path,
    )
    if counts["error"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
