"""What is kept with a version: tags by which people search, and one tag with all else.

MLflow shows each tag of a version as a badge. So what only commands read again (digests, the
history of decisions) is one tag, as JSON.
"""

import json
from collections.abc import Mapping

from mlflow.entities.model_registry import ModelVersion

from maskmill.tracking.lineage import MODEL_TAG

RECORD_TAG = "maskmill.record"
OWN = "maskmill."  # prefix of the names of facts that nobody searches by
HISTORY_TAG = "maskmill.history"  # all decisions, the last one first
MAX_TAG_LENGTH = 5000  # characters, the limit of MLflow's databases


def version_facts(version: ModelVersion) -> dict[str, str]:
    """All that is kept with a version, by name."""
    tags = dict(version.tags)
    record: dict[str, str] = json.loads(tags.pop(RECORD_TAG, "{}"))
    return tags | record


def as_tags(facts: Mapping[str, str], before: Mapping[str, str] | None = None) -> dict[str, str]:
    """The tags that keep facts of a version.

    Args:
        facts: by name; those that start with `maskmill.` go into one tag, but for the fingerprint,
            by which a version is found.
        before: what the version has; the facts in its record stay there.
    """
    record: dict[str, str] = json.loads((before or {}).get(RECORD_TAG, "{}"))
    tags = dict[str, str]()
    for name, value in facts.items():
        kept = record if name.startswith(OWN) and name != MODEL_TAG else tags
        kept[name] = value
    if record:
        tags[RECORD_TAG] = _shortened(record)
    return tags


def _shortened(record: dict[str, str]) -> str:
    """The record as JSON, without the oldest decisions if it would be too long for a tag."""
    text = json.dumps(record, ensure_ascii=False)
    while len(text) > MAX_TAG_LENGTH and record.get(HISTORY_TAG):
        newer, _, _ = record[HISTORY_TAG].rpartition("\n")
        record = record | {HISTORY_TAG: newer}
        text = json.dumps(record, ensure_ascii=False)
    return text
