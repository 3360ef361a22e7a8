"""The descriptions of runs in MLflow: what was trained on which data, and with which result.

A description is a sentence and a list in Markdown. Each stage that adds to a run adds or replaces
its own entry of the list, so text of the user's own stays. The last entry comes first, since MLflow
folds all but the first lines.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mlflow.entities import RunInfo

from maskmill.tracking.store import connect

NOTE = "mlflow.note.content"  # the tag that MLflow shows as the description
MAX_DESCRIPTION_LENGTH = 5000  # characters, the limit of MLflow's databases
# Deciding score -> the scores that MLflow lists; `evaluate` writes many more.
HEADLINES = {
    "PQ": ("PQ", "PQ/thing", "PQ/stuff", "mIoU", "AP", "AP50", "boundary_mIoU", "ECE"),
    "PQ/thing": ("PQ/thing", "AP", "AP50", "mIoU", "boundary_AP", "ECE"),
    "mIoU": ("mIoU", "Dice", "pixel_accuracy", "boundary_mIoU", "ECE"),
}


def headline(scores: Mapping[str, float], deciding: str | None) -> dict[str, float]:
    """The scores to show, the deciding one first.

    Args:
        scores: name -> fraction; None and absent scores are left out.
        deciding: name of the score by which the run was chosen.
    """
    names = dict.fromkeys([deciding, *HEADLINES.get(deciding or "", HEADLINES["PQ"])])
    return {name: scores[name] for name in names if name and scores.get(name) is not None}


def in_words(scores: Mapping[str, float], bounds: Mapping[str, Sequence[float]]) -> str:
    """The scores in percent, with their intervals."""
    parts = []
    for name, value in scores.items():
        interval = bounds.get(name)
        low_to_high = f" ({_percent(interval[0])} to {_percent(interval[1])})" if interval else ""
        parts.append(f"{name} {_percent(value)} %{low_to_high}")
    return ", ".join(parts)


def with_entry(note: str, label: str, text: str) -> str:
    r"""The description with this entry, in place of an earlier one with this label.

    Example:
        >>> with_entry("A U-Net.", "Test", "mIoU 84.2 %")
        'A U-Net.\n\n- **Test**: mIoU 84.2 %'
    """
    start = f"- **{label}**: "
    lines = [line for line in note.splitlines() if not line.startswith(start)]
    entries = [index for index, line in enumerate(lines) if line.startswith("- **")]
    if not entries:
        return "\n".join([*lines, "", f"{start}{text}"])
    lines.insert(entries[0], f"{start}{text}")
    return "\n".join(lines)


def describe_training(
    info: RunInfo, params: Mapping[str, str], described: Mapping[str, Any], files: Sequence[str]
) -> str:
    """What a run trains, on what data, and where its inputs are.

    Args:
        info: of the run.
        params: its parameters.
        described: content of dataset.json.
        files: of the run, with its inputs.
    """
    parts = [params.get("network", "A network"), params.get("encoder"), params.get("loss")]
    what = " + ".join(filter(None, parts))
    splits = described.get("splits", {})
    counts = ", ".join(f"{splits[name]['num_images']} {name}" for name in splits)
    note = f"{what} on {described['source']} ({counts} images)"
    links = ", ".join(artifact_link(info.experiment_id, info.run_id, file) for file in files)
    num_left_out, num_findings = len(described["problems"]), len(described["findings"])
    data = f"{num_left_out} images left out, {num_findings} findings"
    return with_entry(note, "Inputs", f"{links} ({data})")


def add_to_description(run_id: str, label: str, text: str) -> None:
    """Add an entry to the description of a run, or replace the one with this label."""
    client = connect()
    note = client.get_run(run_id).data.tags.get(NOTE, "")
    client.set_tag(run_id, NOTE, with_entry(note, label, text)[:MAX_DESCRIPTION_LENGTH])


def artifact_link(experiment_id: str, run_id: str, path: str) -> str:
    """A link in Markdown to a file of a run, as MLflow shows it."""
    return f"[{path}](#/experiments/{experiment_id}/runs/{run_id}/artifacts/{path})"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"
