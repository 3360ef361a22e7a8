"""The versions of registered models as a table of text."""

import json
from collections.abc import Sequence

from mlflow.entities.model_registry import ModelVersion

from maskmill.tracking.lineage import METRIC_TAG
from maskmill.tracking.models import versions
from maskmill.tracking.promotion import REASON_TAG
from maskmill.tracking.store import connect
from maskmill.tracking.version_facts import version_facts

INTERVAL_TAG = "maskmill.interval"  # 95 % of that metric
RUNTIMES_TAG = "runtimes"  # of the exports of a version, as `maskmill export` names them
METRICS = ("PQ", "PQ/thing", "mIoU", "AP")
INFERENCE_TAG = "inference"  # how a version predicts, in words
COLUMNS = (
    *("version", "alias", "score", "95 %", "other scores", "inference", "commit", "data"),
    "exports",
)
NUM_DIGITS = 10  # of a commit or digest

Cells = Sequence[str]


def tabulate_versions(name: str | None) -> str:
    """A table of the versions of a registered model, each with the reason of its alias.

    Args:
        name: of the registered model; None: all.

    Raises:
        ValueError: there is no registered model of that name, or none at all.
    """
    names = [name] if name else [model.name for model in connect().search_registered_models()]
    if not names:
        raise ValueError(
            "Expected a registered model, but the registry is empty - run `maskmill register` first"
        )
    return "\n".join([_tabulate(name) for name in names])


def _tabulate(name: str) -> str:
    rows: list[Cells] = [COLUMNS]
    reasons = []
    for version in versions(name):
        rows.append(_cells(version))
        reasons.append(version.tags.get(REASON_TAG, "no decision is kept"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [name, _line(COLUMNS, widths)]
    for row, reason in zip(rows[1:], reasons, strict=True):
        lines += [_line(row, widths), f"    {reason}"]
    return "\n".join([*lines, ""])


def _line(row: Cells, widths: Sequence[int]) -> str:
    cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
    return f"  {'  '.join(cells)}".rstrip()


def _cells(version: ModelVersion) -> Cells:
    tags = version_facts(version)
    metric = tags.get(METRIC_TAG, METRICS[0])
    others = [f"{name} {_percent(tags[name])}" for name in METRICS if name in tags]
    own = f"{metric} {_percent(tags[metric])}" if metric in tags else "-"
    return (
        str(version.version),
        ", ".join(sorted(version.aliases)) or "-",
        own,
        _interval(tags.get(INTERVAL_TAG)),
        ", ".join(other for other in others if other != own) or "-",
        tags.get(INFERENCE_TAG, "-"),
        _short(tags.get("git_commit")),
        _short(tags.get("data_hash")),
        tags.get(RUNTIMES_TAG, "-"),
    )


def _percent(fraction: str) -> str:
    return f"{100 * float(fraction):.1f}"


def _interval(text: str | None) -> str:
    bounds = json.loads(text or "null")
    return "-" if bounds is None else f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}"


def _short(digest: str | None) -> str:
    """The beginning of a digest; changes of the tree at a commit are kept."""
    commit, plus, changes = (digest or "-").partition("+")
    return f"{commit[:NUM_DIGITS]}{plus}{changes}"
