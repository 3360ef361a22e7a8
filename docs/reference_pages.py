"""Writes the pages of the reference: the choices of conf/, and the public names of the package.

Only the standard library is imported: the tests compare these pages with the package.
"""

import ast
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
CONF = REPOSITORY / "conf"
SRC = REPOSITORY / "src"
PAGES = REPOSITORY / "docs" / "reference"
# Packages that users import from, or write parts for: all their public names are documented.
PACKAGES = {
    "maskmill.metrics.functional": "Pure functions of arrays, which the metrics call.",
    "maskmill.canonical": "The data format that all stages share.",
    "maskmill.sources": "Readers of raw annotations, and what they are made of.",
    "maskmill.data": "Prepared data to batches.",
    "maskmill.networks": "Images to outputs.",
    "maskmill.losses": "Outputs and targets to named scalars.",
    "maskmill.postprocess": "Outputs to segments.",
    "maskmill.tasks": "The LightningModules.",
}
# Packages that list their public names in `__all__`.
LISTED = {
    "maskmill": "The commands as functions, and their results; see [Python](../../python.md).",
    "maskmill.metrics": "Exact metrics of segmentation, each a `torchmetrics.Metric`.",
}
OTHERS = "Other parts that conf/ names"
# A part of another package that users write themselves: docs/prediction.md.
BASES = ["maskmill.serving.output_format.OutputFormat"]
TARGET = re.compile(r"_target_: (maskmill\.[\w.]+)")


@dataclass(frozen=True)
class Name:
    """A public class or function.

    Args:
        path: the dotted name that users import.
        kind: `class` or `function`.
    """

    path: str
    kind: str


def write_reference() -> None:
    """Write the pages of docs/reference, in place of those of an earlier build."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for folder, pages in (("configuration", group_pages()), ("python", package_pages())):
        (PAGES / folder).mkdir(parents=True)
        for name, text in pages.items():
            (PAGES / folder / f"{name}.md").write_text(text)


# --- conf/


def group_pages() -> dict[str, str]:
    """File name -> page of every folder of conf/ with choices."""
    folders = sorted({path.parent for path in CONF.rglob("*.yaml")} - {CONF})
    pages = {}
    for folder in folders:
        group = folder.relative_to(CONF).as_posix()
        choices = [_choice_text(group, path) for path in sorted(folder.glob("*.yaml"))]
        pages[group.replace("/", "-")] = "\n".join([f"# {group}\n", *choices])
    return pages


def _choice_text(group: str, path: Path) -> str:
    lines = path.read_text().splitlines()
    comments = list(takewhile(lambda line: line.startswith("#"), lines))
    values = "\n".join(lines[len(comments) :])
    reason = [line.removeprefix("#").strip() for line in comments if "@package" not in line]
    text = [f"## {group}={path.stem}\n", "\n".join(reason)]
    if f"  - {group}: {path.stem}\n" in (CONF / "config.yaml").read_text().replace("  #", "\n"):
        text.append("\nThe default.")
    if values.strip():
        text.append(f"\n```yaml\n{values}\n```")
    return "\n".join([*text, ""])


# --- the package


def package_pages() -> dict[str, str]:
    """File name -> page of every documented package."""
    pages = {}
    for package, sentence in (LISTED | PACKAGES).items():
        pages[package] = _page(package, sentence, names_of(package))
    pages["others"] = _page(OTHERS, "Constructors of other packages.", other_names())
    return pages


def names_of(package: str) -> list[Name]:
    """The public names of a package: those of `__all__`, or of all its modules."""
    if package in LISTED:
        return [name for name in _listed_names(package) if not name.path.endswith("__version__")]
    folder = SRC.joinpath(*package.split("."))
    return [name for path in sorted(folder.glob("*.py")) for name in _module_names(path)]


def other_names() -> list[Name]:
    """Constructors that files of conf/ name, and base classes, without a page of their own."""
    texts = [path.read_text() for path in CONF.rglob("*.yaml")]
    targets = {target for text in texts for target in TARGET.findall(text)}
    listed = {name.path for package in PACKAGES for name in names_of(package)}
    return [_name(path) for path in sorted(targets.union(BASES) - listed)]


def _listed_names(package: str) -> list[Name]:
    init = SRC.joinpath(*package.split(".")) / "__init__.py"
    return [_name(f"{package}.{name}") for name in _all_of(ast.parse(init.read_text()))]


def _name(path: str) -> Name:
    is_class = path.rpartition(".")[2][0].isupper()
    return Name(path, "class" if is_class else "function")


def _all_of(tree: ast.Module) -> list[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    raise ValueError("Expected a package with __all__, but it has none - see LISTED")


def _module_names(path: Path) -> Iterator[Name]:
    module = ".".join(path.relative_to(SRC).with_suffix("").parts)
    kinds = {ast.ClassDef: "class", ast.FunctionDef: "function"}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield Name(f"{module}.{node.name}", kinds[type(node)])


def _page(title: str, sentence: str, names: list[Name]) -> str:
    text = [f"# {title}\n", f"{sentence}\n"]
    module = ""
    for name in names:
        if title in PACKAGES and name.path.rpartition(".")[0] != module:
            module = name.path.rpartition(".")[0]
            text.append(f"## {module}\n")
        options = ["   :members:", "   :member-order: bysource"] if name.kind == "class" else []
        directive = [f".. auto{name.kind}:: {name.path}", *options]
        text.append("\n".join(["```{eval-rst}", *directive, "```\n"]))
    return "\n".join(text)
