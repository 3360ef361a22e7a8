"""Nodes that name other code, wherever they come from: refused before anything is imported."""

import copy
import itertools
import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from maskmill.assembly.build import build
from maskmill.assembly.composition import compose_stages
from maskmill.assembly.network_loading import load_network
from maskmill.assembly.targets import packaged_targets
from maskmill.assembly.training_parts import read_dataset
from maskmill.canonical.categories import Categories
from maskmill.serving.model_files import DESCRIPTION, read_model, write_model
from maskmill.training.checkpoint_files import find_damage
from strategies import CATEGORIES

# Callables that run code, read or write files, or lead to others that do, and their arguments
HOSTILE = [
    ("os.system", {"command": "touch PWNED"}),
    ("posix.system", {"command": "touch PWNED"}),
    ("builtins.exec", {"source": "open('PWNED', 'w')"}),
    ("builtins.eval", {"source": "open('PWNED', 'w')"}),
    ("builtins.open", {"file": "PWNED", "mode": "w"}),
    ("subprocess.check_output", {"args": ["touch", "PWNED"]}),
    ("importlib.import_module", {"name": "evil"}),
    ("runpy.run_path", {"path_name": "evil.py"}),
    ("functools.partial", {"func": {"_target_": "os.system"}}),
    ("pathlib.Path.write_text", {"data": "x"}),
    ("shutil.rmtree", {"path": "."}),
    ("joblib.load", {"filename": "weights.pkl"}),
    ("pandas.read_pickle", {"filepath_or_buffer": "weights.pkl"}),
    ("cloudpickle.load", {"file": "weights.pkl"}),
    ("torch.load", {"f": "weights.pkl", "weights_only": False}),
    ("torch.hub.load", {"repo_or_dir": "evil/evil", "model": "x"}),
    ("torch.jit.load", {"f": "weights.pkl"}),
    ("mlflow.utils.process._exec_cmd", {"cmd": ["touch", "PWNED"]}),
    ("pip._internal.utils.subprocess.call_subprocess", {"cmd": ["touch", "PWNED"]}),
    ("git.cmd.Git.execute", {"command": ["touch", "PWNED"]}),
    ("hydra.utils.instantiate", {"config": {"_target_": "os.system"}}),
    ("evil.Net", {}),
    ("evil", {}),
    ("maskmill.networks.encoders.os.system", {"command": "touch PWNED"}),
    ("maskmill.networks.encoders.torch.load", {"f": "weights.pkl"}),
    ("maskmill.networks.encoders.Path", {}),
    ("maskmill.networks.weights.read_weights", {"name": "x", "weights": "weights.pkl"}),
    ("maskmill.training.launching.run_worker", {"module": "evil", "folder": "."}),
    ("maskmill.canonical.files.write_text", {"path": "PWNED", "text": "x"}),
    ("maskmill.networks.encoders.TimmEncoder.__init__.__globals__.get", {"key": "os"}),
    ("maskmill.networks.encoders.TimmEncoder.__subclasses__", {}),
    ("maskmill.evil.Net", {}),
    ("maskmill..networks", {}),
    ("segmentation_models_pytorch.encoders.get_encoder", {"name": "resnet18"}),
    ("", {}),
    (".os.system", {"command": "touch PWNED"}),
    ("os.system\n", {"command": "touch PWNED"}),
    ("ｏｓ.system", {"command": "touch PWNED"}),
]
NODES = [{"_target_": name, **arguments} for name, arguments in HOSTILE]
NODES += [{"_target_": "os.system", "_args_": ["touch PWNED"], "_partial_": True}]

ENCODER = {"_target_": "maskmill.networks.encoders.TimmEncoder", "name": "resnet10t"}
NETWORK = {
    "_target_": "maskmill.networks.decoders.EncoderDecoder",
    "encoder": ENCODER,
    "decoder": {"_target_": "segmentation_models_pytorch.FPN", "_partial_": True},
}
POSTPROCESS = {"_target_": "maskmill.postprocess.semantic.SemanticSegments"}
CONFIG = {"network": NETWORK, "task": {"postprocess": POSTPROCESS}}
# Where a node is put; the rest of the path is a key of a mapping there
PLACES = [
    "network",
    "network.encoder",
    "network.encoder.name",
    "network.decoder",
    "network.decoder.decoder_dropout",
    "network.stride.deeper",
    "network.list",
    "network._args_",
]
POSTPROCESS_PLACES = ["task.postprocess", "task.postprocess.top_k", "task.postprocess.list"]

watched = {"on": False, "events": []}
RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect")


def watch(event, args):
    """Record what a hostile node must not cause; an audit hook cannot be removed again."""
    if not watched["on"]:
        return
    is_foreign_import = event == "import" and not str(args[0]).startswith("maskmill")
    is_write = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    is_secret = event == "open" and str(args[0]).endswith((".pkl", "PWNED", "evil.py"))
    if is_foreign_import or is_write or is_secret or event.startswith(RUNS):
        watched["events"].append((event, str(args[:2])))


sys.addaudithook(watch)


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """A folder with code and a pickle that nobody must touch, on the import path."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "evil.py").write_text("open('PWNED', 'w')\nclass Net: pass\n")
    (folder / "weights.pkl").write_bytes(b"cposix\nsystem\n(S'touch PWNED'\ntR.")
    before = Path.cwd()
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    packaged_targets(), packaged_targets("network", "encoder")  # reads conf/ once
    yield folder
    sys.path.remove(str(folder))
    os.chdir(before)


@pytest.fixture(scope="module")
def model(folder):
    return write_model(folder / "model", {"w": torch.zeros(1)}, CONFIG, CATEGORIES, "digest").folder


def put(config, place, value):
    """A copy of a configuration with a value at a dotted place."""
    config = copy.deepcopy(config)
    *parents, last = place.split(".")
    part = config
    for key in parents:
        if not isinstance(part.get(key), dict):
            part[key] = {}
        part = part[key]
    part[last] = [[value]] if last in {"list", "_args_"} else value
    return config


def refused(function, *args, ignored=None):
    """The message with which a call refuses its input; before that it did nothing."""
    watched.update(on=True, events=[])
    try:
        with pytest.raises(ValueError, match=" - ") as caught:
            function(*args)
    finally:
        watched["on"] = False
    assert [event for event in watched["events"] if event[0] != ignored] == []
    assert "evil" not in sys.modules
    return str(caught.value)


def predict_parts(model):
    files = read_model(model)
    load_network(files)
    files.postprocess()


ADVICE = (
    "of your project",
    "train the model again",
    "name each argument of " + NETWORK["_target_"],
)
MODEL_CASES = list(itertools.product(PLACES + POSTPROCESS_PLACES, NODES))
BUILD_CASES = list(itertools.product(PLACES, NODES))


def test_there_are_hundreds_of_nodes():
    assert len(MODEL_CASES) == 429
    assert len(BUILD_CASES) == 312


@pytest.mark.parametrize("place", PLACES + POSTPROCESS_PLACES)
def test_a_model_json_that_names_other_code_is_refused(model, place):
    path = model / DESCRIPTION
    for node in NODES:
        description = json.loads(path.read_text()) | {"config": put(CONFIG, place, node)}
        path.write_text(json.dumps(description))
        message = refused(predict_parts, model)
        assert message.startswith(f"{path}: config.")
        assert message.endswith(ADVICE)


@pytest.mark.parametrize("place", PLACES)
def test_a_configuration_that_names_other_code_is_refused(place):
    for node in NODES:
        config = OmegaConf.create(put(CONFIG, place, node))
        message = refused(build, config.network, object)
        assert message.startswith(place.partition(".")[0])
        assert "conf/targets.yaml" in message or "expected arguments by name" in message


@pytest.mark.parametrize("place", POSTPROCESS_PLACES)
def test_a_registered_description_that_names_other_code_is_refused(model, folder, place):
    path = folder / "registered" / DESCRIPTION
    path.parent.mkdir(exist_ok=True)
    description = json.loads((model / DESCRIPTION).read_text()) | {"fingerprint": "0123"}
    for node in NODES:
        path.write_text(json.dumps(description | {"config": put(CONFIG, place, node)}))
        assert refused(read_model, path.parent).startswith(f"{path}: config.task.postprocess")


class Payload:
    """What a pickle calls when it is loaded."""

    def __init__(self, function, *arguments):
        self.called = function, arguments

    def __reduce__(self):
        return self.called


PAYLOADS = [
    Payload(os.system, "touch PWNED"),
    Payload(exec, "open('PWNED', 'w')"),
    Payload(eval, "open('PWNED', 'w')"),
    Payload(open, "PWNED", "w"),
    Payload(__import__, "evil"),
    Payload(getattr, Path, "cwd"),
]


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: str(payload.called[0]))
@pytest.mark.parametrize("place", ["state_dict", "callbacks", "hyper_parameters", "_class_path"])
def test_a_checkpoint_with_an_object_is_damaged_and_runs_nothing(folder, place, payload):
    path = folder / "last.ckpt"
    torch.save({"state_dict": {}, "callbacks": {}} | {place: {"x": payload}}, path)
    find_damage(path)  # imports what it needs
    watched.update(on=True, events=[])
    damage = find_damage(path)
    watched["on"] = False
    assert damage.startswith("it cannot be read (UnpicklingError: Weights only load failed")
    assert watched["events"] == []
    assert not (folder / "PWNED").exists()


@pytest.mark.parametrize("place", ["source", "categories", "problems", "findings", "digest"])
def test_a_node_in_a_data_set_is_data(folder, place):
    path = folder / "data" / "dataset.json"
    path.parent.mkdir(exist_ok=True)
    splits = {"train": {"num_images": 1}, "val": {"num_images": 1}}
    dataset = {"source": {}, "splits": splits, "problems": [], "findings": [], "digest": "0"}
    read_dataset(str(shipped(path, dataset | {"categories": CATEGORIES.as_list()})))
    has_other_rows = place in {"problems", "findings", "digest"}  # which the schema refuses
    for node in NODES:
        message = rf"dataset\.json: expected .* at {place}"
        refusal = pytest.raises(ValueError, match=message) if has_other_rows else nullcontext()
        categories = [{**node, **row} for row in CATEGORIES.as_list()]
        shipped(path, dataset | {"categories": categories} | {place: categories})
        watched.update(on=True, events=[])
        with refusal:
            read = read_dataset(str(path.parent))
            assert Categories.from_list(read["categories"]) == CATEGORIES
        watched["on"] = False
        assert watched["events"] == []


def shipped(path, dataset):
    path.write_text(json.dumps(dataset))
    return path.parent


FORMS = [
    "${oc.create:{_target_: os.system, command: touch PWNED}}",
    r"\${oc.create:{_target_: os.system, command: touch PWNED}}",
    r"\\\${oc.create:{_target_: os.system, command: touch PWNED}}",
    "${oc.decode:'{_target_: os.system, command: touch PWNED}'}",
    "${evil:x}",
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", ["network.encoder", "network.stride", "network._target_"])
def test_an_interpolation_cannot_hide_a_target(place, form, model):
    config = put(CONFIG, place, form)
    watched.update(on=True, events=[])
    with pytest.raises(Exception, match=r"os\.system|oc\.|evil"):
        build(OmegaConf.create(config).network, object)
    watched["on"] = False
    assert [event for event in watched["events"] if event[0] != "import"] == []
    # In a model.json it is text. Where the names are those of a network, this package is imported.
    path = model / DESCRIPTION
    path.write_text(json.dumps(json.loads(path.read_text()) | {"config": config}))
    message = refused(predict_parts, model, ignored="import")
    assert message.startswith(f"{path}: config.network")


@pytest.mark.slow
@pytest.mark.parametrize("node", NODES[::4], ids=lambda node: node["_target_"])
def test_params_that_name_other_code_are_refused(folder, node):
    path = folder / "params.yaml"
    path.write_text(json.dumps({"set": {"+network": {"+decoder": node}}}))
    with pytest.raises(ValueError, match=r"params\.yaml: network\.decoder.* - "):
        compose_stages(path, folder / "out")
    assert not (folder / "out").exists()
    assert not (folder / "PWNED").exists()
