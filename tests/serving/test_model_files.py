import json

import pytest
import torch

from maskmill.postprocess.semantic import SemanticSegments
from maskmill.serving.model_files import describe, make_postprocess, read_model, write_model
from strategies import CATEGORIES

CONFIG = {
    "network": {"_target_": "x"},
    "task": {"postprocess": {"_target_": "maskmill.postprocess.semantic.SemanticSegments"}},
}
WEIGHTS = {"head.weight": torch.arange(6.0).view(2, 3), "head.steps": torch.tensor(3)}


def test_a_model_comes_back_as_it_was_written(tmp_path):
    files = write_model(tmp_path, WEIGHTS, CONFIG, CATEGORIES, "digest")
    again = read_model(tmp_path)
    assert again == files
    assert again.categories == CATEGORIES
    assert all(torch.equal(again.weights()[name], value) for name, value in WEIGHTS.items())
    assert isinstance(again.postprocess(), SemanticSegments)


def test_the_same_model_has_the_same_bytes_and_another_weight_another_fingerprint(tmp_path):
    one = write_model(tmp_path / "a", WEIGHTS, CONFIG, CATEGORIES, "digest")
    same = write_model(
        tmp_path / "b", dict(reversed(WEIGHTS.items())), CONFIG, CATEGORIES, "digest"
    )
    other = write_model(
        tmp_path / "c", WEIGHTS | {"head.steps": torch.tensor(4)}, CONFIG, CATEGORIES, "digest"
    )
    assert one.fingerprint == same.fingerprint != other.fingerprint
    for name in ("model.safetensors", "model.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_registered_copy_without_weights_keeps_its_fingerprint(tmp_path):
    files = write_model(tmp_path / "a", WEIGHTS, CONFIG, CATEGORIES, "digest")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "model.json").write_text(json.dumps(describe(files)))
    assert read_model(tmp_path / "b").fingerprint == files.fingerprint


def test_a_model_file_cannot_name_code_outside_the_postprocessing():
    with pytest.raises(ValueError, match=r"class of maskmill\.postprocess, but got 'os\.system'"):
        make_postprocess({"_target_": "os.system"}, CATEGORIES)


def test_a_postprocess_value_out_of_range_raises_a_value_error():
    node = {"_target_": "maskmill.postprocess.mask_classification.PanopticMasks"}
    values = {"threshold": 1.5, "overlap": 0.8, "min_area_px": 0, "stuff_area_px": 0}
    with pytest.raises(ValueError, match=r"predict\.postprocess\.threshold: got 1\.5: .*less than 1"):
        make_postprocess(node | values, CATEGORIES)


def test_a_folder_without_a_model_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="maskmill train"):
        read_model(tmp_path)


def test_a_broken_description_is_named(tmp_path):
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(
        ValueError, match=r"model\.json: expected the description of a model.*train it again"
    ):
        read_model(tmp_path)
