"""How readable the code is, in numbers: `python benchmarks/structure.py [FOLDER ...]`, by default
src/maskmill.

A statement counts without the statements inside it: the header of a loop or function, or a simple
statement. Docstrings and imports do not count. Tokens are those of the parser: no comments, no
blank lines.
"""

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
MAX_COLUMNS = 100


@dataclass(frozen=True)
class Structure:
    """Figures of some files: nodes of each statement, tokens, comprehensions, parallel assignments,
    lines that are too long.
    """

    nodes: list[int]
    num_tokens: int
    num_comprehensions: int
    num_parallel: int
    long_lines: list[str]

    def per_10_000_tokens(self, number: int) -> float:
        return 10_000 * number / max(1, self.num_tokens)

    def percentile(self, share: float) -> float:
        return float(np.percentile(self.nodes, share))


def own_nodes(statement: ast.stmt) -> int:
    """Nodes of a statement without those of the statements inside it, as Python's parser counts
    them.
    """
    count = 0
    stack: list[ast.AST] = [statement]
    while stack:
        node = stack.pop()
        count += 1
        stack += [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.stmt)]
    return count


def counted_statements(tree: ast.AST) -> Iterator[ast.stmt]:
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if (
            isinstance(node, ast.stmt)
            and not is_text
            and not isinstance(node, ast.Import | ast.ImportFrom)
        ):
            yield node


def is_parallel(node: ast.AST) -> bool:
    """`a, b = c, d`, which is neither a swap nor the unpacking of one value."""
    if (
        not isinstance(node, ast.Assign)
        or not isinstance(node.targets[0], ast.Tuple)
        or not isinstance(node.value, ast.Tuple)
    ):
        return False
    names = {ast.unparse(target) for target in node.targets[0].elts}
    values = {ast.unparse(value) for value in node.value.elts}
    return names != values


def num_tokens(text: str) -> int:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return sum(token.type not in SILENT for token in tokens)


def measure(paths: list[Path]) -> Structure:
    nodes, long_lines = [], []
    tokens = comprehensions = parallel = 0
    for path in paths:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        nodes += [own_nodes(statement) for statement in counted_statements(tree)]
        everything = list(ast.walk(tree))
        tokens += num_tokens(text)
        comprehensions += sum(isinstance(node, COMPREHENSIONS) for node in everything)
        parallel += sum(is_parallel(node) for node in everything)
        lines = text.splitlines()
        long_lines += [
            f"{path}:{number}"
            for number, line in enumerate(lines, start=1)
            if len(line) > MAX_COLUMNS
        ]
    return Structure(nodes, tokens, comprehensions, parallel, long_lines)


def python_files(path: Path) -> list[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def main() -> None:
    folders = [Path(name) for name in sys.argv[1:]] or [
        Path("src/maskmill"),
        *sorted(Path("src/maskmill").glob("*/")),
    ]
    sys.stdout.write(
        f"{'folder':<31}statements  median  p90  comprehensions  parallel  long lines\n"
    )
    for folder in folders:
        files = python_files(folder)
        if not files:  # as __pycache__
            continue
        figures = measure(files)
        comprehensions = figures.per_10_000_tokens(figures.num_comprehensions)
        parallel = figures.per_10_000_tokens(figures.num_parallel)
        sys.stdout.write(
            f"{folder!s:<32}{len(figures.nodes):>9}"
            f"{figures.percentile(50):>8.0f}{figures.percentile(90):>5.0f}"
            f"{comprehensions:>16.1f}{parallel:>10.1f}{len(figures.long_lines):>12}\n"
        )


if __name__ == "__main__":
    main()
