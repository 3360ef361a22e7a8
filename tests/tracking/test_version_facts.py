"""Tags of a version by which people search, and one with all else."""

import json

from maskmill.tracking.lineage import MODEL_TAG
from maskmill.tracking.version_facts import HISTORY_TAG, MAX_TAG_LENGTH, RECORD_TAG, as_tags


def test_what_nobody_searches_by_is_one_tag():
    facts = {"PQ": "0.5", MODEL_TAG: "abc", "maskmill.test": "images", "maskmill.alias": "none"}
    tags = as_tags(facts)
    assert tags.keys() == {"PQ", MODEL_TAG, RECORD_TAG}
    later = as_tags({"maskmill.alias": "champion"}, tags)
    record = {"maskmill.test": "images", "maskmill.alias": "champion"}
    assert {RECORD_TAG: record} == {name: json.loads(text) for name, text in later.items()}


def test_a_record_that_is_too_long_loses_its_oldest_decisions():
    decisions = [f"decision {number} " + 100 * "ä" for number in range(100)]
    history = "\n".join(reversed(decisions))
    text = as_tags({HISTORY_TAG: history, "maskmill.test": "images"})[RECORD_TAG]
    record = json.loads(text)
    assert MAX_TAG_LENGTH - 200 < len(text) <= MAX_TAG_LENGTH
    assert record["maskmill.test"] == "images"
    assert history.startswith(record[HISTORY_TAG] + "\n")
