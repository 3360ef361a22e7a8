"""Raw data -> its problems, each with a fix; nothing is converted."""

import logging
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.raw_data import opened_source
from maskmill.assembly.settings import CheckSettings
from maskmill.canonical.files import write_json
from maskmill.sources.finding import NUM_EXAMPLES, Finding, group_by_kind
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)

MAX_KINDS = 100  # kinds of findings that are printed; check.json has all


@stage
def main(cfg: DictConfig) -> None:
    """Check the source; exit status 1 if there are errors."""
    if any(finding.severity == "error" for finding in check_source(cfg)):
        sys.exit(1)


def check_source(cfg: DictConfig) -> list[Finding]:
    """Write check.json, print what matters, and return all findings."""
    settings = build(cfg.check, CheckSettings)
    with opened_source(cfg) as (converter, source, shown):
        dataset = converter.check(source, shown=shown)
    path = write_json(settings.out / "check.json", dataset)
    findings = [Finding(**row) for row in dataset["findings"]]
    groups = group_by_kind(findings)
    _print_groups(groups, path)
    counts = Counter(finding.severity for finding in findings)
    prepared = sum(split["num_images"] for split in dataset["splits"].values())
    log.info(
        "checked %d images: %d errors, %d warnings, %d notes -> %s",
        prepared + len(dataset["problems"]),
        counts["error"],
        counts["warning"],
        counts["note"],
        path,
    )
    _print_first_step(groups)
    return findings


def _print_groups(groups: Sequence[Sequence[Finding]], path: Path) -> None:
    """A line per finding, or, for more than three of a kind, their number and three examples."""
    for group in groups[:MAX_KINDS]:
        severity, what, fix = group[0].kind
        if len(group) <= NUM_EXAMPLES:
            for finding in group:
                log.info("%-7s  %s", severity, finding)
            continue
        log.info("%-7s  %d times: %s - %s", severity, len(group), what, fix)
        for finding in group[:NUM_EXAMPLES]:
            log.info("%-7s    for example %s: %s", "", finding.file, finding.what)
    if len(groups) > MAX_KINDS:
        log.info("... and %d more kinds of findings in %s", len(groups) - MAX_KINDS, path)


def _print_first_step(groups: Sequence[Sequence[Finding]]) -> None:
    """The fix of the most frequent kind, of the errors if there are any; notes need no step."""
    serious = [group for group in groups if group[0].severity in {"error", "warning"}]
    worst = [group for group in serious if group[0].severity == serious[0][0].severity]
    if worst:
        first = max(worst, key=len)
        log.info("start here: %s: %s (%d of this kind)", first[0].file, first[0].fix, len(first))


if __name__ == "__main__":
    main()
