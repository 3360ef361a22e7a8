"""dataset.json and prediction.json: a changed value is refused by file and place, or harmless."""

import json

import pytest

from maskmill.canonical.dataset_file import (
    read_dataset_file,
    read_evidence_file,
    read_prediction_file,
)
from maskmill.reporting.preview_page import write_preview
from mutated import mutations

ROW = {"name": "car", "pixels": 3, "images": 1, "segments": 2, "weight": None}
DATASET = {
    "categories": [{"id": 1, "name": "car", "isthing": 1, "color": [1, 2, 3]}],
    "splits": {"train": {"num_images": 2}},
    "statistics": {
        "train": {
            "height": [4, 2],
            "width": [2],
            "pixels": 12,
            "void_pixels": 9,
            "classes": [ROW | {"small": 1, "medium": 1, "large": 0}],
            "rgb_mean": [1.0, 2.0, 3.0],
            "rgb_std": [4.0, 5.0, 6.0],
        }
    },
    "problems": [{"split": "train", "message": "m"}],
    "findings": [{"severity": "warning", "file": "f", "what": "w", "fix": "x"}],
    "digest": "abc",
}
NEEDED = {(), ("categories",), ("splits",), ("statistics",)}  # whether they are there


@pytest.mark.slow
def test_a_changed_value_of_dataset_json_is_refused_by_name_or_shown(tmp_path):
    path = tmp_path / "dataset.json"
    messages = []
    for place, mutated in mutations(DATASET):
        path.write_text(json.dumps(mutated))
        try:
            dataset = read_dataset_file(path)
        except ValueError as error:
            messages.append(f"{place}: {error}")
            continue
        if place[:1] not in NEEDED:
            write_preview(tmp_path / "p.html", dataset, [], split="train", augmentation="")
    assert len(messages) > 400
    assert [text for text in messages if str(path) not in text or "\n" in text] == []


@pytest.mark.parametrize("content", [[], {"model": 7}, "x", None])
def test_a_prediction_json_of_another_form_is_refused(tmp_path, content):
    (tmp_path / "prediction.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"prediction\.json: expected a valid"):
        read_prediction_file(tmp_path / "prediction.json")


EVIDENCE = {
    **{
        "model": "a" * 64,
        "prediction": "b" * 64,
        "labels": "c" * 64,
        "images": {"1.png": "d" * 64},
    },
    **{"other_images": [], "settings": {}, "files": {}},
}


@pytest.mark.parametrize(
    "change", [{"model": 7}, {"labels": "short"}, {"images": []}, {"other_images": None}], ids=str
)
def test_an_evidence_json_of_another_form_is_refused(tmp_path, change):
    path = tmp_path / "evidence.json"
    path.write_text(json.dumps(EVIDENCE | change))
    with pytest.raises(ValueError, match=rf"evidence\.json: expected .*{next(iter(change))}"):
        read_evidence_file(path)
    path.write_text(json.dumps(EVIDENCE))
    assert read_evidence_file(path) == EVIDENCE
