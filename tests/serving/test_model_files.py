import json
import os
import re

import pytest
import torch

from maskmill.postprocess.semantic import SemanticSegments
from maskmill.serving import model_files
from maskmill.serving.model_files import (
    copy_model,
    describe,
    make_postprocess,
    read_model,
    write_model,
)
from strategies import CATEGORIES

CONFIG = {
    "network": {"_target_": "x"},
    "task": {"postprocess": {"_target_": "maskmill.postprocess.semantic.SemanticSegments"}},
}
WEIGHTS = {"head.weight": torch.arange(6.0).view(2, 3), "head.steps": torch.tensor(3)}


def test_reading_a_written_model_returns_it(tmp_path):
    files = write_model(tmp_path, WEIGHTS, CONFIG, CATEGORIES, "digest")
    read = read_model(tmp_path)
    assert read == files
    assert read.categories == CATEGORIES
    weights = read.weights()
    assert weights.keys() == WEIGHTS.keys()
    for name, value in WEIGHTS.items():
        assert torch.equal(weights[name], value)
    assert isinstance(read.postprocess(), SemanticSegments)
    assert {path.name for path in tmp_path.iterdir()} == {"model.json", "model.safetensors"}


def test_the_same_model_has_the_same_bytes_and_another_weight_another_fingerprint(tmp_path):
    reordered = dict(reversed(WEIGHTS.items()))
    changed = WEIGHTS | {"head.steps": torch.tensor(4)}
    first = write_model(tmp_path / "a", WEIGHTS, CONFIG, CATEGORIES, "digest")
    same = write_model(tmp_path / "b", reordered, CONFIG, CATEGORIES, "digest")
    other = write_model(tmp_path / "c", changed, CONFIG, CATEGORIES, "digest")
    assert first.fingerprint == same.fingerprint != other.fingerprint
    for name in ("model.safetensors", "model.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_copy_of_a_model_has_its_bytes(tmp_path):
    files = write_model(tmp_path / "a", WEIGHTS, CONFIG, CATEGORIES, "digest")
    copy_model(files, tmp_path / "b")
    assert read_model(tmp_path / "b").fingerprint == files.fingerprint


@pytest.mark.parametrize("moment", ["write_json", "_replace_model"])
def test_a_process_killed_while_writing_leaves_the_old_model(tmp_path, moment):
    old = write_model(tmp_path, WEIGHTS, CONFIG, CATEGORIES, "old")
    digest = old.weights_digest()
    child = os.fork()
    if child == 0:
        setattr(model_files, moment, lambda *args: os._exit(9))
        changed = {name: value + 1 for name, value in WEIGHTS.items()}
        write_model(tmp_path, changed, CONFIG, CATEGORIES, "new")
    os.waitpid(child, 0)
    assert read_model(tmp_path) == old
    assert read_model(tmp_path).weights_digest() == digest


def test_a_registered_copy_without_weights_keeps_its_fingerprint(tmp_path):
    files = write_model(tmp_path / "a", WEIGHTS, CONFIG, CATEGORIES, "digest")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "model.json").write_text(json.dumps(describe(files)))
    assert read_model(tmp_path / "b").fingerprint == files.fingerprint


OTHER_CODE = [
    "os.system",
    "maskmill.postprocess.semantic.np.load",  # a name inside an allowed module
    "maskmill.postprocess.semantic.Panoptic",  # a class that an allowed module imports
    "maskmill.postprocess.nothing.Segments",
    "maskmill.postprocess.semantic.Nothing",
]


@pytest.mark.parametrize("name", OTHER_CODE)
def test_a_model_file_cannot_name_code_outside_the_postprocessing(name):
    message = f"Expected a class of maskmill.postprocess, but got '{name}'"
    with pytest.raises(ValueError, match=re.escape(message)):
        make_postprocess({"_target_": name}, CATEGORIES)


def test_a_postprocess_value_out_of_range_raises_a_value_error():
    node = {"_target_": "maskmill.postprocess.mask_classification.PanopticMasks"}
    values = {"threshold": 1.5, "overlap": 0.8, "min_area_px": 0, "stuff_area_px": 0}
    with pytest.raises(
        ValueError, match=r"predict\.postprocess\.threshold: got 1\.5: .*less than 1"
    ):
        make_postprocess(node | values, CATEGORIES)


def test_a_folder_without_a_model_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="maskmill train"):
        read_model(tmp_path)


def test_a_broken_description_is_named(tmp_path):
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(
        ValueError, match=r"model\.json: expected the description of a model.*train the model again"
    ):
        read_model(tmp_path)
