"""Checks a torch.export program before it is loaded: it may contain tensors and arithmetic alone.

torch unpickles tensors that claim to need it, compiles the guards and the names of a graph as
Python, resolves operators to any function of its modules (`torch.os.system` among them), and runs
native code that it finds beside the graph. None of these belong to a network.
"""

import ast
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.export.pt2_archive._package import PT2ArchiveReader

GRAPH = "models/model.json"
SAMPLE = "data/sample_inputs/model.pt"
PAYLOADS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
MEMBER = re.compile(
    r"archive_(format|version)|byteorder|version|\.data/\w+|extra/\w+"
    r"|data/weights/weight_\d+|data/constants/tensor_\d+"
)
TENSOR_FILE = re.compile(r"(weight|tensor)_\d+")
NAME = re.compile(r"-?[\w.]*")  # -Infinity is a value of a mask
OPERATOR = re.compile(
    r"torch\.ops\.aten\.\w+\.\w+|math\.(ceil|floor|trunc|sqrt)|torch\.sym_\w+"
    r"|_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|eq|ne|lt|le|gt|ge|and_|or_|getitem)"
)
# Operators that take text; of others, such as aten.save and aten.from_file, it would name a file.
TAKES_TEXT = re.compile(
    r"torch\.ops\.aten\.(pad|einsum|gelu|div_?|conv[123]d|meshgrid|searchsorted|scatter_reduce"
    r"|linalg_\w+)\.\w+"
)
ARITHMETIC = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Load),
    *(ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.keyword, ast.Name),
)
FUNCTIONS = {
    *("Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Mod", "PythonMod", "Min"),
    *("Max", "Abs", "Not", "And", "Or", "Eq", "Ne", "FloorDiv", "CeilDiv", "CleanDiv", "Where"),
    *("ModularIndexing", "CeilToInt", "FloorToInt", "TruncToInt", "IntTrueDiv", "FloatTrueDiv"),
    *("ToFloat", "StrictLessThan", "LessThan", "StrictGreaterThan", "GreaterThan", "Equality"),
    *("Unequality", "ceiling", "floor", "size", "stride", "sym_max", "sym_min", "sym_not"),
}
MODULES = ("torch", "math")  # before a function of the list
UNREADABLE = (RuntimeError, ValueError, LookupError, TypeError, AttributeError, SyntaxError)
CONTAINERS = {None, "builtins.tuple", "builtins.list", "builtins.dict"}


def check_program(path: Path) -> None:
    """Refuse a program with anything but tensors and their operators; nothing in it is run.

    Raises:
        ValueError: it has something else, or cannot be read.
    """
    try:
        archive = PT2ArchiveReader(str(path))
        found = next(_foreign_parts(archive), None)
    except UNREADABLE as error:
        found = f"a file that cannot be read ({' '.join(str(error).split())[:200]})"
    if found is not None:
        raise ValueError(
            f"{path}: expected a program of tensors and their operators alone, but got {found} - "
            "export the model again; do not use a model file whose origin you do not know"
        )


def _foreign_parts(archive: PT2ArchiveReader) -> Iterator[str]:
    """What does not belong into the program of a network."""
    for member in archive.get_file_names():
        if member not in (GRAPH, SAMPLE, *PAYLOADS) and not MEMBER.fullmatch(member):
            yield f"the member {member!r}"
    for member in PAYLOADS:
        for name, payload in json.loads(archive.read_bytes(member))["config"].items():
            file = payload["path_name"]
            if payload["use_pickle"] is not False or not TENSOR_FILE.fullmatch(file):
                yield f"a pickled object for {name!r}"
    try:
        torch.load(io.BytesIO(archive.read_bytes(SAMPLE)), weights_only=True)
    except Exception as error:  # torch, pickle and zipfile have their own kinds
        yield f"sample inputs that are no tensors ({type(error).__name__})"
    yield from _foreign_nodes(json.loads(archive.read_bytes(GRAPH)))


def _foreign_nodes(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from _foreign_entries(value)
    elif isinstance(value, list):
        for item in value:
            yield from _foreign_nodes(item, key)
    elif isinstance(value, str):
        yield from _foreign_text(value, key)


def _foreign_entries(node: Mapping[str, Any]) -> Iterator[str]:
    if "inputs" in node and "target" in node:
        has_text = '"as_string' in json.dumps(node["inputs"])
        allowed = TAKES_TEXT if has_text else OPERATOR
        if not allowed.fullmatch(str(node["target"])):
            yield f"the operator {node['target']!r}"
    for key, item in node.items():
        if key == "metadata":
            yield from _foreign_metadata(item)
        elif key != "as_string":
            if not NAME.fullmatch(key):
                yield from _foreign_text(key, "range_constraints")
            yield from _foreign_nodes(item, key)


def _foreign_metadata(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Text for people is kept as it is; other entries are resolved to functions and classes."""
    for key, text in metadata.items():
        if key not in ("stack_trace", "nn_module_stack", "torch_fn") or not isinstance(text, str):
            yield f"the metadata {key!r}"


def _foreign_text(text: str, key: str) -> Iterator[str]:
    if key in ("in_spec", "out_spec"):
        yield from _foreign_containers(json.loads(text)[1])
    elif key in ("expr_str", "guards_code", "range_constraints"):
        if len(text) > 10_000 or not _is_arithmetic(text):
            yield f"the expression {text[:80]!r}"
    elif not NAME.fullmatch(text.replace("+", "") if key == "torch_version" else text):
        yield f"the name {text[:80]!r}"


def _foreign_containers(spec: Mapping[str, Any]) -> Iterator[str]:
    if spec["type"] not in CONTAINERS:
        yield f"the container {spec['type']!r}"
    for name in json.loads(spec["context"] or "null") or []:
        yield from _foreign_text(name, "name")
    for child in spec["children_spec"]:
        yield from _foreign_containers(child)


def _is_arithmetic(text: str) -> bool:
    """Is it an expression of numbers, symbols and sizes, for Python as well as for sympy?"""
    return all(_is_allowed(node) for node in ast.walk(ast.parse(text, mode="eval")))


def _is_allowed(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return not isinstance(node.value, str) or node.value.isidentifier()
    if isinstance(node, ast.Call):
        function = node.func
        is_ours = isinstance(function, ast.Name) and function.id in FUNCTIONS
        return is_ours or isinstance(function, ast.Attribute)
    if isinstance(node, ast.Attribute):
        owner = node.value
        is_module = isinstance(owner, ast.Name) and owner.id in MODULES
        return node.attr in FUNCTIONS and (is_module or isinstance(owner, ast.Subscript))
    if isinstance(node, ast.Subscript):  # L['images'] and .size()[2]
        owner = node.value
        return isinstance(owner, ast.Call) or isinstance(owner, ast.Name) and owner.id == "L"
    return isinstance(node, ARITHMETIC)
