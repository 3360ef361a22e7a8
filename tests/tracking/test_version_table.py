import sys

import pytest

from maskmill.stages import models
from maskmill.tracking.lineage import MODEL_TAG
from maskmill.tracking.models import CHAMPION, champion, keep_facts, versions
from maskmill.tracking.promotion import champions, keep_decision, move_champion

SCORES = {
    "maskmill.metric": "PQ",
    "PQ": "0.51234",
    "mIoU": "0.75",
    "maskmill.interval": "[0.48, 0.54]",
    "git_commit": "0123456789abcdef+changes",
    "data_hash": "fedcba9876543210",
    "runtimes": "onnx",
    "inference": "whole image, mean of 4 views",
}


@pytest.fixture
def registered(store):
    """Two versions: one without scores, as an earlier version of maskmill left it, and one with."""
    store.create_registered_model("street")
    for number in (1, 2):
        store.create_model_version("street", "somewhere", tags={MODEL_TAG: str(number)})
    latest = versions("street")[0]
    keep_facts(latest, SCORES)
    keep_decision(latest, CHAMPION, "the first version of this model", "question")
    assert move_champion(latest, seen=None)
    return store


def printed(capsys, monkeypatch, *arguments, status=None):
    monkeypatch.setattr(sys, "argv", ["models", *arguments])
    if status is None:
        models.main()
    else:
        with pytest.raises(SystemExit, match=str(status)):
            models.main()
    output = capsys.readouterr()
    return output.out + output.err


@pytest.mark.slow
def test_the_table_shows_scores_aliases_lineage_and_reasons(registered, capsys, monkeypatch):
    lines = printed(capsys, monkeypatch, "street").splitlines()
    assert lines[0] == "street"
    assert lines[1].split("  ")[1:3] == ["version", "alias"]
    row = [cell.strip() for cell in lines[2].strip().split("  ") if cell.strip()]
    assert row == [
        *("2", "champion", "PQ 51.2", "48.0 to 54.0", "mIoU 75.0", "whole image, mean of 4 views"),
        *("0123456789+changes", "fedcba9876", "onnx"),
    ]
    assert lines[3].strip() == "the first version of this model"
    assert lines[4].split() == ["1", *"--------"]
    assert lines[5].strip() == "no decision is kept"
    assert printed(capsys, monkeypatch).splitlines() == lines  # all models
    assert champions("street") == ["2"]
    assert move_champion(registered.get_model_version("street", "2"), seen=champion("street"))
    assert champions("street") == ["2"]  # once, however often it is registered


def test_a_model_that_there_is_not_and_an_empty_registry_are_messages(store, capsys, monkeypatch):
    empty = printed(capsys, monkeypatch, status=1)
    assert empty.startswith("Expected a registered model, but the registry is empty - run `mask")
    store.create_registered_model("street")
    output = printed(capsys, monkeypatch, "strete", status=1)
    assert output.startswith("strete: expected a registered model, but there are ['street'] - ")
