"""Raw data -> its problems, each with a fix; nothing is converted."""

import logging
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.raw_data import opened_source
from maskmill.assembly.settings import CheckSettings
from maskmill.canonical.files import write_json
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)

MAX_LINES = 100  # findings that are printed; check.json has all of them


@stage
def main(cfg: DictConfig) -> None:
    """Check the source; exit status 1 if there are errors."""
    settings = build(cfg.check, CheckSettings)
    with opened_source(cfg) as (converter, source, shown):
        dataset = converter.check(source, shown=shown)
    path = write_json(settings.out / "check.json", dataset)
    findings = dataset["findings"]
    _print_findings(findings)
    counts = Counter(finding["severity"] for finding in findings)
    prepared = sum(split["num_images"] for split in dataset["splits"].values())
    log.info(
        "checked %d images: %d errors, %d warnings, %d notes -> %s",
        prepared + len(dataset["problems"]),
        counts["error"],
        counts["warning"],
        counts["note"],
        path,
    )
    if counts["error"]:
        sys.exit(1)


def _print_findings(findings: Sequence[Mapping[str, str]]) -> None:
    for finding in findings[:MAX_LINES]:
        log.info(
            "%-7s  %s: %s - %s", *(finding[key] for key in ("severity", "file", "what", "fix"))
        )
    if len(findings) > MAX_LINES:
        log.info("... and %d more", len(findings) - MAX_LINES)


if __name__ == "__main__":
    main()
