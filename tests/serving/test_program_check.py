"""Programs of unknown origin: what torch would execute while it loads them is refused before."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from maskmill.serving.program import PROGRAM, export_program, load_program
from strided_network import StridedNetwork

WEIGHTS = "program/data/weights/model_weights_config.json"
GRAPH = "program/models/model.json"
SAMPLE = "program/data/sample_inputs/model.pt"


class Touch:
    """Unpickled, it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    return export_program(StridedNetwork().eval(), folder)


@pytest.fixture
def planted(exported, tmp_path):
    """A copy of the program in which `change` has edited members; name -> bytes."""

    def plant(change):
        with zipfile.ZipFile(exported) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        change(members, tmp_path / "touched")
        with zipfile.ZipFile(tmp_path / PROGRAM, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return tmp_path

    return plant


def pickled(path):
    buffer = io.BytesIO()
    torch.save(Touch(path), buffer)
    return buffer.getvalue()


def edit(members, name, change):
    content = json.loads(members[name])
    change(content)
    members[name] = json.dumps(content).encode()


def pickle_a_weight(members, path):
    def use_pickle(config):
        payload = config["config"]["network.down.bias"]
        payload["use_pickle"] = True
        members[f"program/data/weights/{payload['path_name']}"] = pickled(path)

    edit(members, WEIGHTS, use_pickle)


def pickle_the_sample(members, path):
    members[SAMPLE] = pickled(path)


def pickle_a_constant(members, path):
    name = "program/data/constants/model_constants_config.json"
    payload = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True}
    edit(members, name, lambda config: config["config"].update(x=payload | {"tensor_meta": None}))
    members["program/data/constants/opaque_obj_0"] = pickle.dumps(Touch(path))


def add_native_code(members, path):
    members["program/data/aotinductor/model/code.so"] = b"\x7fELF"


def add_old_weights(members, path):
    members["program/data/weights/model.pt"] = pickled(path)


def nodes_of(graph):
    return graph["graph_module"]["graph"]["nodes"]


def call(target, *values):
    arguments = [{"name": "", "arg": {"as_string": value}, "kind": 1} for value in values]
    return lambda graph, path: nodes_of(graph)[0].update(target=target, inputs=arguments)


def in_graph(change):
    return lambda members, path: edit(members, GRAPH, lambda graph: change(graph, path))


def guard(text):
    return in_graph(lambda graph, path: graph["guards_code"].append(text.format(path=path)))


def name_an_input(graph, path):
    old = graph["graph_module"]["signature"]["input_specs"][0]["parameter"]["arg"]["name"]
    text = json.dumps(graph).replace(old, "x=__import__('os')")
    graph.clear()
    graph.update(json.loads(text))


def resolve_metadata(graph, path):
    nodes_of(graph)[0]["metadata"]["source_fn_stack"] = "x,torch.os.system"


PLANTED = {
    "pickled weight": (pickle_a_weight, "a pickled object for 'network.down.bias'"),
    "pickled sample": (pickle_the_sample, "sample inputs that are no tensors"),
    "pickled constant": (pickle_a_constant, "the member 'data/constants/opaque_obj_0'"),
    "native code": (add_native_code, "the member 'data/aotinductor/model/code.so'"),
    "weights of old torch": (add_old_weights, "the member 'data/weights/model.pt'"),
    "shell": (in_graph(call("torch.os.system", "touch x")), "the operator 'torch.os.system'"),
    "saves": (in_graph(call("torch.ops.aten.save.default", "x")), "the operator .*aten.save"),
    "maps": (in_graph(call("torch.ops.aten.from_file.default", "x")), "the operator .*from_file"),
    "guard": (guard("__import__('os').mkdir('{path}')"), 'the expression "__import__'),
    "guard on a class": (guard("L['images'].__class__ == 1"), "the expression"),
    "guard with a lambda": (guard("(lambda: 1)() == 1"), "the expression"),
    "name of an input": (in_graph(name_an_input), 'the name "x=__import__'),
    "metadata": (in_graph(resolve_metadata), "the metadata 'source_fn_stack'"),
    "no JSON": (
        lambda members, _: members.update({GRAPH: b"{"}),
        "a file that cannot be read .Expecting property name",
    ),
    "no graph": (lambda members, _: members.pop(GRAPH) and None, "a file that cannot be read"),
}


def test_pickle_in_a_program_is_a_danger(planted, tmp_path):
    """Torch itself executes it: should it ever refuse, the check can go."""
    with pytest.raises(Exception, match="not an instance of torch.nn.Parameter"):
        torch.export.load(planted(pickle_a_weight) / PROGRAM)
    assert (tmp_path / "touched").exists()


@pytest.mark.parametrize(("change", "message"), PLANTED.values(), ids=PLANTED)
def test_foreign_parts_are_refused_before_they_run(planted, tmp_path, change, message):
    folder = planted(change)
    with pytest.raises(ValueError, match=f"{PROGRAM}: expected .* alone, but got .*{message}"):
        load_program(folder)
    assert not (tmp_path / "touched").exists()


def test_an_expression_of_sizes_cannot_run_anything(planted, tmp_path):
    def hide(members, path):
        text = members[GRAPH].decode()
        marker = '"expr_str": "'
        assert marker in text
        evil = f"Symbol('x').func.__class__.mro('{path}')"
        start = text.index(marker) + len(marker)
        members[GRAPH] = (text[:start] + evil + text[text.index('"', start) :]).encode()

    with pytest.raises(ValueError, match=r"the expression \"Symbol\('x'\).func"):
        load_program(planted(hide))


def test_a_file_that_is_no_archive_is_named(tmp_path):
    (tmp_path / PROGRAM).write_bytes(b"nothing")
    with pytest.raises(ValueError, match="a file that cannot be read"):
        load_program(tmp_path)
