"""What a class or function declares, read from its source: nothing is imported.

`compose` checks combinations of parts without torch, which takes seconds to import.
"""

import ast
import functools
import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

OPTIONAL = "NotRequired"


@dataclass(frozen=True)
class Keys:
    """The keys of a TypedDict: those that are always there, and those that may be missing."""

    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Definition:
    """A class or function, and the module whose names its annotations use."""

    module: str
    node: ast.ClassDef | ast.FunctionDef


def find_definition(target: str) -> Definition | None:
    """The class or function of a dotted name; None if there is no source of it."""
    module, _, name = target.rpartition(".")
    return _find(module, name)


def returned_keys(definition: Definition) -> Keys | None:
    """The keys of the TypedDict that a network's `forward` returns; None if it names none.

    Args:
        definition: the network's class, or a function that returns it.
    """
    node = definition.node
    if isinstance(node, ast.FunctionDef):
        built = _named(definition.module, node.returns)
        return returned_keys(built) if built is not None and built != definition else None
    method = _method(definition, "forward")
    return _keys(method.module, method.node.returns) if method is not None else None


def received_keys(definition: Definition, method_name: str) -> Keys | None:
    """The keys of the TypedDict that a method's first parameter is; None if it names none."""
    method = _method(definition, method_name)
    if method is None or len(method.node.args.args) < 2:
        return None
    return _keys(method.module, method.node.args.args[1].annotation)


def keyword_defaults(definition: Definition) -> dict[str, object]:
    """Keyword-only argument of a constructor -> its default, where that is a constant."""
    node = definition.node
    if isinstance(node, ast.ClassDef):
        method = _method(definition, "__init__")
        if method is None:
            return {}
        node = method.node
    defaults = dict[str, object]()
    for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        if isinstance(default, ast.Constant):
            defaults[argument.arg] = default.value
    return defaults


@dataclass(frozen=True)
class _Method:
    module: str
    node: ast.FunctionDef


def _method(definition: Definition, name: str) -> _Method | None:
    """A method of a class or of the first base that has it."""
    node = definition.node
    if not isinstance(node, ast.ClassDef):
        return None
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == name:
            return _Method(definition.module, item)
    for base in node.bases:
        parent = _named(definition.module, base)
        inherited = _method(parent, name) if parent is not None else None
        if inherited is not None:
            return inherited
    return None


def _keys(module: str, annotation: ast.expr | None) -> Keys | None:
    typed_dict = _named(module, annotation)
    if typed_dict is None or not isinstance(typed_dict.node, ast.ClassDef):
        return None
    required = set[str]()
    optional = set[str]()
    for base in typed_dict.node.bases:
        inherited = _keys(typed_dict.module, base) or Keys()
        required |= inherited.required
        optional |= inherited.optional
    for item in typed_dict.node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            kind = optional if OPTIONAL in ast.unparse(item.annotation) else required
            kind.add(item.target.id)
    return Keys(frozenset(required), frozenset(optional))


def _named(module: str, expression: ast.expr | None) -> Definition | None:
    """The definition of a name in an annotation, which may be a string."""
    if isinstance(expression, ast.Constant) and isinstance(expression.value, str):
        return _find(module, expression.value)
    return _find(module, expression.id) if isinstance(expression, ast.Name) else None


@functools.cache
def _find(module: str, name: str) -> Definition | None:
    """A definition in a module, or in the one that it imports the name from."""
    tree = _tree(module)
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return Definition(module, node)
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if name == (alias.asname or alias.name) and node.module != module:
                    return _find(node.module, alias.name)
    return None


@functools.cache
def _tree(module: str) -> ast.Module | None:
    path = _source(module)
    if path is None:
        return None
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):  # its import will say so
        return None


def _source(module: str) -> Path | None:
    """The file of a module; parent packages are found, not imported."""
    folders: list[str] | None = None
    origin: str | None = None
    for name in module.split("."):
        spec = _spec(name, folders)
        if spec is None:
            return None
        origin = spec.origin
        folders = list(spec.submodule_search_locations or [])
    is_python = origin is not None and origin.endswith(".py")
    return Path(str(origin)) if is_python and module not in sys.builtin_module_names else None


def _spec(name: str, folders: list[str] | None) -> ModuleSpec | None:
    """Of a module in the folders of its package, or of a package by any of Python's finders.

    An editable installation has a finder of its own.
    """
    if folders is not None:
        return PathFinder.find_spec(name, folders)
    try:
        return find_spec(name)
    except ValueError:  # a script that runs: `__main__`
        return None
