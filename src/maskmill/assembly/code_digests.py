"""Which code a result depends on: the modules that a stage imports, and a digest of each.

Imports are read from the sources, so nothing is imported and a stage's modules are found in a
fraction of a second. DVC compares the digests, a training run resumes only under the same ones,
converted images are reused only under the same ones, and a registered model carries the modules
themselves.
"""

import ast
import functools
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import maskmill

PACKAGE = "maskmill"
ROOT = Path(maskmill.__file__).parent
MODULE_NAME = re.compile(rf"{PACKAGE}(\.\w+)+")
NUM_DIGITS = 12  # hexadecimal digits of a digest: enough to tell any two versions of a file apart
# A string, which may contain "#", or the comment itself.
STRING_OR_COMMENT = re.compile(
    r'''("""|\'{3})(?:\\.|(?!\1).)*\1|(["\'])(?:\\.|(?!\2).)*\2|(?P<comment>\#[^\n]*)''',
    re.DOTALL,
)


@dataclass(frozen=True)
class ModuleSource:
    """What the source of one module says.

    Args:
        imports: modules of this package that it imports or names in a string constant, as
            "maskmill.stages.train_worker"; imports for type checkers alone are left out.
        exports: for a package: name -> module that defines it, also where the import is lazy.
        classes: names of the public classes that it defines.
        data: files and folders beside the module that a string constant names, as templates.
        digest: of the code without comments, docstrings and blank lines, and of the data.
    """

    imports: frozenset[str]
    exports: Mapping[str, str]
    classes: frozenset[str]
    data: tuple[Path, ...]
    digest: str


def code_digests(modules: Iterable[str]) -> dict[str, str]:
    """The digest of every module that the given ones import, directly or not, and of themselves.

    Comments, docstrings and blank lines do not change a digest.

    Args:
        modules: dotted names of modules of this package.

    Returns:
        module -> 12 hexadecimal digits, by ascending name.

    Raises:
        ValueError: there is no such module.

    Example:
        >>> digests = code_digests(["maskmill.canonical.limits"])
        >>> sorted(digests)
        ['maskmill', 'maskmill.canonical', 'maskmill.canonical.limits']
    """
    return {module: _read(module).digest for module in sorted(import_closure(modules))}


def import_closure(modules: Iterable[str]) -> frozenset[str]:
    """The given modules, all modules of this package that they import, and their packages."""
    closure: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in closure:
            closure.add(module)
            waiting += _read(module).imports
            waiting += _packages_of(module)
    return frozenset(closure)


def target_modules(node: Any) -> set[str]:
    """The modules of this package that a configuration names by `_target_`, at any depth."""
    if isinstance(node, Mapping):
        modules = _module_of_target(str(node.get("_target_", "")))
        return modules.union(*map(target_modules, node.values()))
    if isinstance(node, Sequence) and not isinstance(node, str):
        return set[str]().union(*map(target_modules, node))
    return set()


def stage_modules(stage: str, parts: Iterable[Any]) -> set[str]:
    """The modules that decide a stage's result: its entry point and the configured parts."""
    return {f"{PACKAGE}.stages.{stage}"} | target_modules(list(parts))


def is_public_class(target: str) -> bool:
    """Whether a dotted name is a class that this package defines; nothing is imported.

    Example:
        >>> is_public_class("maskmill.losses.boundary.Boundary")
        True
        >>> is_public_class("maskmill.losses.boundary.Tensor")  # a class that the module imports
        False
    """
    module, _, name = target.rpartition(".")
    if not MODULE_NAME.fullmatch(target) or not _is_module(module):
        return False
    source = _read(module)
    if name in source.exports:  # of a package
        return is_public_class(f"{source.exports[name]}.{name}")
    return name in source.classes


def source_files(modules: Iterable[str]) -> dict[str, Path]:
    """Path relative to the package -> file, of the modules' sources and their data."""
    files: dict[str, Path] = {}
    for module in modules:
        for path in [_path_of(module), *_read(module).data]:
            files[path.relative_to(ROOT).as_posix()] = path
    return files


@functools.cache
def _read(module: str) -> ModuleSource:
    path = _path_of(module)
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    is_package = path.name == "__init__.py"
    exports = dict(_exported_names(module, tree)) if is_package else {}
    nodes = run_time_nodes(tree)
    data = tuple(_data_files(path, nodes))
    digest = hashlib.sha256(_code_only(text, nodes).encode())
    for file in data:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    imports = frozenset(_imported_modules(module, nodes)) - {module}
    return ModuleSource(
        imports, exports, _public_classes(tree), data, digest.hexdigest()[:NUM_DIGITS]
    )


def _path_of(module: str) -> Path:
    base = ROOT.joinpath(*module.split(".")[1:])
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    raise ValueError(
        f"Expected a module of {PACKAGE}, but {module!r} is none - check the `_target_` that "
        f"names it"
    )


def _is_module(name: str) -> bool:
    base = ROOT.joinpath(*name.split(".")[1:])
    is_ours = name == PACKAGE or name.startswith(f"{PACKAGE}.")
    return is_ours and ((base / "__init__.py").is_file() or base.with_suffix(".py").is_file())


def _packages_of(module: str) -> list[str]:
    names = module.split(".")
    return [".".join(names[:length]) for length in range(1, len(names))]


def _module_of_target(target: str) -> set[str]:
    """The module of `maskmill.losses.boundary.BoundaryLoss` or `maskmill.metrics.MaskAP`."""
    if not target.startswith(f"{PACKAGE}."):
        return set()
    module, _, name = target.rpartition(".")
    while not _is_module(module):  # a class method has the class in between
        module, _, name = module.rpartition(".")
    is_package = _path_of(module).name == "__init__.py"
    if is_package and name not in _read(module).exports:
        raise ValueError(
            f"Expected a constructor of {PACKAGE}, but there is no {target!r} - check `_target_`"
        )
    return {_read(module).exports.get(name, module)}


def _imported_modules(module: str, nodes: list[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _is_module(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module and _is_module(node.module):
            for alias in node.names:
                yield _module_of_name(node.module, alias.name)
    for text in _texts(nodes):
        if MODULE_NAME.fullmatch(text) and _is_module(text):
            yield text


def _texts(nodes: list[ast.AST]) -> set[str]:
    texts = set()
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.add(node.value)
    return texts


def _module_of_name(package: str, name: str) -> str:
    """The module that `from package import name` needs."""
    if _is_module(f"{package}.{name}"):
        return f"{package}.{name}"
    if _path_of(package).name != "__init__.py":
        return package
    return _read(package).exports.get(name, package)


def _exported_names(module: str, tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):  # also under TYPE_CHECKING, where a lazy package declares its names
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module != module
            and _is_module(node.module)
        ):
            for alias in node.names:
                yield alias.asname or alias.name, node.module


def _public_classes(tree: ast.Module) -> frozenset[str]:
    names = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    return frozenset(name for name in names if not name.startswith("_"))


def run_time_nodes(tree: ast.AST) -> list[ast.AST]:
    """All nodes but those in `if TYPE_CHECKING:`, in a fraction of the time of `ast.walk`."""
    nodes = []
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.If) and _is_for_type_checkers(node.test):
            stack += node.orelse
            continue
        nodes.append(node)
        for value in vars(node).values():
            if isinstance(value, list):
                stack += filter(_is_node, value)
            elif isinstance(value, ast.AST):
                stack.append(value)
    return nodes


def _is_node(value: Any) -> bool:
    return isinstance(value, ast.AST)


def _is_for_type_checkers(test: ast.expr) -> bool:
    name = getattr(test, "id", getattr(test, "attr", None))
    return name == "TYPE_CHECKING"


def _data_files(path: Path, nodes: list[ast.AST]) -> Iterator[Path]:
    names = _texts(nodes)
    for entry in sorted(path.parent.iterdir()):
        if entry.name in names and not _is_code(entry):
            yield from sorted(filter(Path.is_file, entry.rglob("*"))) if entry.is_dir() else [entry]


def _is_code(entry: Path) -> bool:
    is_file = entry.suffix == ".py" or entry.name == "__pycache__"
    return is_file or (entry / "__init__.py").is_file()


def _code_only(text: str, nodes: list[ast.AST]) -> str:
    """The source without comments, docstrings, blank lines and trailing blanks."""
    lines = STRING_OR_COMMENT.sub(_unless_comment, text).splitlines()
    for node in nodes:
        if isinstance(node, ast.Expr) and _is_text(node.value):
            _cut(lines, node)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _unless_comment(match: re.Match[str]) -> str:
    return "" if match["comment"] else match[0]


def _cut(lines: list[str], node: ast.Expr) -> None:
    """Remove a node from the lines and keep what stands before and after it."""
    first = node.lineno - 1
    last = (node.end_lineno or node.lineno) - 1
    before = lines[first].encode()[: node.col_offset].decode()  # columns count bytes
    after = lines[last].encode()[node.end_col_offset :].decode()
    lines[first : last + 1] = [before + after, *[""] * (last - first)]


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
