import json
import os
import re
from dataclasses import replace
from pathlib import Path

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
from maskmill.serving.prediction_settings import PredictionSettings
from strategies import CATEGORIES

CONFIG = {
    "network": {"_target_": "x", "width": 3},
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


def die(*args, **kwargs):
    os._exit(9)


# What a process that writes a model is killed in place of, and the model that it leaves
MOMENTS = [
    pytest.param(model_files, "write_json", "old", id="new-weights-written"),
    pytest.param(model_files, "_replace_model", "old", id="both-written"),
    pytest.param(Path, "replace", "old", id="nothing-replaced"),
    pytest.param(Path, "replace", "new", id="weights-replaced"),
]


@pytest.mark.parametrize(("owner", "function", "left"), MOMENTS)
def test_a_process_killed_while_writing_leaves_the_old_or_the_new_model(
    tmp_path, owner, function, left
):
    changed = {name: value + 1 for name, value in WEIGHTS.items()}
    expected = {
        "old": write_model(tmp_path, WEIGHTS, CONFIG, CATEGORIES, "old"),
        "new": write_model(tmp_path / "whole", changed, CONFIG, CATEGORIES, "new"),
    }[left]
    child = os.fork()
    if child == 0:
        if function == "replace":
            replace = Path.replace
            doomed = "model.json" if left == "new" else "model.safetensors"

            def die_at_name(path, target):
                return die() if Path(target).name == doomed else replace(path, target)

            Path.replace = die_at_name
        else:
            setattr(owner, function, die)
        write_model(tmp_path, changed, CONFIG, CATEGORIES, "new")
    os.waitpid(child, 0)
    read = read_model(tmp_path)
    assert (read.fingerprint, read.data_digest) == (expected.fingerprint, left)
    assert read.weights_digest() == expected.weights_digest()
    copy_model(read, tmp_path / "copy")
    assert read_model(tmp_path / "copy").fingerprint == expected.fingerprint


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data[:-1] + b"x"])
def test_weights_that_are_not_those_described_are_refused(tmp_path, change):
    write_model(tmp_path, WEIGHTS, CONFIG, CATEGORIES, "digest")
    path = tmp_path / "model.safetensors"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=r"model\.safetensors: .*another digest.*copy both again"):
        read_model(tmp_path)


def test_weights_in_another_format_are_named(tmp_path):
    files = write_model(tmp_path, WEIGHTS, CONFIG, CATEGORIES, "digest")
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(ValueError, match=r"model\.safetensors: expected weights in the safetens"):
        files.weights()


def test_a_registered_copy_without_weights_keeps_its_fingerprint(tmp_path):
    files = write_model(tmp_path / "a", WEIGHTS, CONFIG, CATEGORIES, "digest")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "model.json").write_text(json.dumps(describe(files, tmp_path / "b")))
    assert read_model(tmp_path / "b").fingerprint == files.fingerprint


OTHER_CODE = [
    "os.system",
    "maskmill.postprocess.semantic.np.load",  # a name inside an allowed module
    "maskmill.postprocess.semantic.Panoptic",  # a class that an allowed module imports
    "maskmill.postprocess.nothing.Segments",
    "maskmill.postprocess.semantic.Nothing",
    f"maskmill.postprocess.{300 * 'n'}.Nothing",  # longer than the name of a file can be
]


@pytest.mark.parametrize("name", OTHER_CODE)
def test_a_model_file_cannot_name_code_outside_the_postprocessing(name):
    message = f"expected a class of maskmill.postprocess, but got '{name}'"
    with pytest.raises(ValueError, match=re.escape(message)):
        make_postprocess({"_target_": name}, CATEGORIES, "predict.postprocess")


@pytest.mark.parametrize("changes", [{}, {"size": 3}])
def test_a_misspelt_class_of_a_model_is_named_with_its_file(tmp_path, changes):
    node = {"_target_": "maskmill.postprocess.semantic.SmanticSegments"}
    config = CONFIG | {"task": {"postprocess": node}}
    files = write_model(tmp_path, WEIGHTS, config, CATEGORIES, "digest")
    where = r"model\.json: config\.task\.postprocess\."
    with pytest.raises(ValueError, match=f"{where}_target_: expected a class of maskmill"):
        files.postprocess(changes)


@pytest.mark.parametrize(
    ("tested", "changes", "where"),
    [({"size": 3}, {}, r"model\.json: prediction\."), ({}, {"size": 3}, r"^predict\.")],
)
def test_a_value_that_the_postprocess_lacks_is_named_where_it_stands(
    tmp_path, tested, changes, where
):
    files = write_model(tmp_path, WEIGHTS, CONFIG, CATEGORIES, "digest")
    files = replace(files, prediction=PredictionSettings(postprocess=tested))
    with pytest.raises(ValueError, match=f"{where}postprocess.size: .* has no argument 'size'"):
        files.postprocess(changes)


def test_the_same_weights_in_flips_have_another_identity(tmp_path):
    files = write_model(tmp_path, WEIGHTS, CONFIG, CATEGORIES, "digest")
    in_flips = replace(files, prediction=PredictionSettings(as_tested(views={"a": 1})["inference"]))
    assert files.identity == files.fingerprint == in_flips.fingerprint
    assert in_flips.identity != files.identity


def test_a_postprocess_value_out_of_range_raises_a_value_error():
    node = {"_target_": "maskmill.postprocess.mask_classification.PanopticMasks"}
    values = {"threshold": 1.5, "overlap": 0.8, "min_area_px": 0, "stuff_area_px": 0}
    with pytest.raises(
        ValueError, match=r"predict\.postprocess\.threshold: expected float.*1\.5.*less than 1"
    ):
        make_postprocess(node | values, CATEGORIES, "predict.postprocess")


def test_a_folder_without_a_model_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="maskmill train"):
        read_model(tmp_path)


def nested(depth):
    return json.loads("[" * depth + "]" * depth)


VIEWS = "maskmill.postprocess.views.Views"
WINDOWS = "maskmill.postprocess.sliding_window.SlidingWindow"


def as_tested(**inference):
    """How a version predicts, as its description says it."""
    whole = {"_target_": "maskmill.postprocess.whole_image.WholeImage"}
    return {"inference": whole | inference, "postprocess": {}}


# What is written into a description, where, and the message about it
BROKEN = [
    ("", "x", "a valid dictionary at the top, but got 'x'"),
    ("", None, "a valid dictionary at the top, but got None"),
    ("", [], "a valid dictionary at the top, but got []"),
    ("config", None, "a valid dictionary at config, but got None"),
    ("config", [1], "a valid dictionary at config, but got [1]"),
    ("config.network", [], "a valid dictionary at config.network, but got []"),
    ("config.network", {}, "a value at config.network._target_, but got none"),
    ("config.network._target_", 3, "a valid string at config.network._target_, but got 3"),
    ("config.network._target_", None, "string at config.network._target_, but got None"),
    ("config.task", "x", "a valid dictionary at config.task, but got 'x'"),
    ("config.task.postprocess", None, "dictionary at config.task.postprocess, but got None"),
    ("config.task.postprocess._target_", ["os.system"], "string at config.task.postprocess._tar"),
    ("config.network.width", 10**40, "width: expected a whole number up to 1000000000"),
    ("config.network.width", float("nan"), "width: expected a finite number, but got nan"),
    ("config.network.width", float("inf"), "width: expected a finite number, but got inf"),
    ("config.network.width", nested(200), "expected at most 32 nested levels"),
    ("config.network.width", nested(900), "expected at most 32 nested levels"),
    ("categories", {}, "a valid list at categories, but got {}"),
    ("categories", [], "Expected 1 to 254 categories, but got 0"),
    ("categories", [3], "a valid dictionary at categories[0], but got 3"),
    ("categories.0.id", "1", "a valid integer at categories[0].id (of 'ground'), but got '1'"),
    ("categories.0.id", 2**40, "less than 2147483648 at categories[0].id"),
    ("categories.0.id", True, "a valid integer at categories[0].id (of 'ground'), but got True"),
    ("categories.0.name", None, "a valid string at categories[0].name"),
    ("categories.0.isthing", 2, "at categories[0].isthing (of 'ground'), but got 2"),
    ("categories.0.color", [1, 2], "at categories[0].color (of 'ground'), but got [1, 2]"),
    ("categories.0.color", [1, 2, 256], "256"),
    ("data_digest", 3, "a valid string at data_digest, but got 3"),
    ("data_digest", None, "a valid string at data_digest, but got None"),
    ("weights", 3, "a valid string at weights, but got 3"),
    ("fingerprint", [], "a valid string at fingerprint, but got []"),
    ("prediction", [], "a valid dictionary at prediction, but got []"),
    ("prediction", {"postprocess": {}}, "a value at prediction.inference, but got none"),
    ("prediction", as_tested(_target_="os.system"), "SlidingWindow, maskmill.postprocess"),
    ("prediction", as_tested(_target_=WINDOWS.replace("SlidingWindow", "Band")), "Band'"),
    ("prediction", as_tested(_partial_=True), "_partial_: expected arguments by name, but got"),
    ("prediction", as_tested(views={"_target_": "os.system"}), "but got 'os.system'"),
    ("prediction", as_tested(views=as_tested()["inference"]), "whole_image.WholeImage'"),
    ("prediction", as_tested(views={"_target_": VIEWS, "scales": [1e6]}), "or equal to 4"),
    ("prediction", as_tested(views={"_target_": VIEWS, "scales": [1.0] * 99}), "at most 16 items"),
    (
        "prediction",
        as_tested(views=3),
        "expected one of maskmill.postprocess.views.Views, but got 3",
    ),
    ("prediction", as_tested(padding=nested(200)), "expected at most 32 nested levels"),
    (
        "prediction",
        as_tested(padding=float("nan")),
        "padding: expected a finite number, but got nan",
    ),
    ("prediction", as_tested(padding=3), "WholeImage has no argument 'padding'"),
    ("prediction", as_tested(_target_=WINDOWS, window=[64, 1]), "inference.window: expected tuple"),
    ("prediction", as_tested(_target_=WINDOWS, window=None), "window: expected height and width"),
    (
        "prediction",
        as_tested() | {"postprocess": {"_partial_": True}},
        "postprocess._partial_: exp",
    ),
]


@pytest.mark.parametrize(("where", "value", "message"), BROKEN)
def test_a_broken_description_is_named(tmp_path, where, value, message):
    write_model(tmp_path, WEIGHTS, CONFIG, CATEGORIES, "digest")
    path = tmp_path / "model.json"
    content = {"": json.loads(path.read_text())}
    part = content
    *parents, last = f".{where}".split(".") if where else [""]
    for key in parents:
        part = part[int(key) if isinstance(part, list) else key]
    part[int(last) if isinstance(part, list) else last] = value
    path.write_text(json.dumps(content[""]))
    ways_out = "correct|train|merge|predict|remove|register|set"
    expected = rf"model\.json: .*{re.escape(message)}.* - ({ways_out})"
    with pytest.raises(ValueError, match=expected):
        read_model(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[" * 100_000, '{"config": ' * 100_000, '{"config": ' + "9" * 5000 + "}", "\xff"],
    ids=["empty", "cut", "deep-list", "deep-mapping", "huge-number", "not-utf-8"],
)
def test_a_description_that_is_not_json_is_named(tmp_path, text):
    write_model(tmp_path, WEIGHTS, CONFIG, CATEGORIES, "digest")
    (tmp_path / "model.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(
        ValueError, match=r"model\.json: expected (JSON|a JSON file).* - (either|save)"
    ):
        read_model(tmp_path)
