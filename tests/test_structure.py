"""The code stays readable: the figures of benchmarks/structure.py, import circles, and words of the
old dialect.
"""

import ast
import re

import grimp
import numpy as np
import pytest
from benchmarks.structure import measure, python_files
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components


@pytest.fixture(scope="module")
def figures(repository):
    return measure(python_files(repository / "src"))


@pytest.mark.slow
def test_nine_of_ten_statements_are_one_thought(figures):
    assert figures.percentile(90) <= 26


def test_comprehensions_are_few(figures):
    assert figures.per_10_000_tokens(figures.num_comprehensions) <= 25


def test_parallel_assignments_are_rare(figures):
    assert figures.per_10_000_tokens(figures.num_parallel) <= 6


def test_no_line_is_too_long(figures):
    assert figures.long_lines == []


def test_no_modules_import_each_other_in_a_circle():
    graph = grimp.build_graph("maskmill", cache_dir=None, exclude_type_checking_imports=True)
    modules = sorted(graph.modules)
    index = {module: number for number, module in enumerate(modules)}
    edges = [
        (index[module], index[imported])
        for module in modules
        for imported in graph.find_modules_directly_imported_by(module)
        if not graph.is_module_squashed(module)
    ]
    rows, columns = np.array(edges).T
    matrix = csr_array((np.ones(len(edges)), (rows, columns)), shape=(len(modules),) * 2)
    _, component = connected_components(matrix, connection="strong")
    counts = np.bincount(component)
    circles = [
        module for module, number in zip(modules, component, strict=True) if counts[number] > 1
    ]
    assert circles == []


@pytest.mark.slow
def test_tests_are_as_long_as_the_code_and_check_values(repository):
    num_lines = {"src": 0, "tests": 0}
    num_checks = 0
    for folder in num_lines:
        for path in python_files(repository / folder):
            text = path.read_text()
            nodes = list(ast.walk(ast.parse(text)))
            num_lines[folder] += num_code_lines(text, nodes)
            if folder == "tests":
                num_checks += sum(map(is_check_of_a_value, nodes))
    assert num_lines["tests"] / num_lines["src"] >= 0.8
    assert 1000 * num_checks / num_lines["tests"] >= 20


def is_check_of_a_value(node):
    if not isinstance(node, ast.Assert):
        return False
    return any(isinstance(part, ast.Compare) for part in ast.walk(node.test))


def num_code_lines(text, nodes):
    """Lines without docstrings, comments and blanks, which tests have fewer of."""
    documented = set()
    for node in nodes:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            documented.update(range(node.lineno, node.end_lineno + 1))
    count = 0
    for number, line in enumerate(text.splitlines(), start=1):
        code = line.strip()
        count += bool(code) and not code.startswith("#") and number not in documented
    return count


OLD_WORDS = re.compile(
    r"\b(mend(s|ed|ing)?|dealt|dealer|fate|forgiven|wrongly classed|badly outlined|strangers?|"
    r"told to leave|by heart|"
    r"draws the whole line|taken for what|goes on from|is no number)\b",
    re.IGNORECASE,
)
NOT_OURS = {"test_structure.py", "requirements.lock", "dvc.lock", "LICENSE"}


@pytest.mark.slow
def test_words_of_the_old_dialect_are_gone(repository):
    places = ("src", "tests", "conf", "docs", "benchmarks")
    paths = [
        path
        for place in places
        for path in (repository / place).rglob("*")
        if path.suffix in {".py", ".md", ".yaml", ".jinja"}
    ]
    paths += [
        path
        for path in repository.glob("*")
        if path.is_file() and path.suffix in {".md", ".toml", ".yaml"}
    ]
    found = [
        f"{path.relative_to(repository)}:{number}: {line.strip()}"
        for path in paths
        if path.name not in NOT_OURS
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if OLD_WORDS.search(line)
    ]
    assert found == []
