"""Every `Example:` in a docstring runs and prints what it says.

Those that import maskmill itself need a project: tests/stages/test_functions.py runs them.
"""

import doctest
import importlib
from pathlib import Path

import pytest

IN_A_PROJECT = ">>> import maskmill\n"
SRC = Path(__file__).parents[1] / "src"
FUNCTIONS = SRC / "maskmill" / "stages" / "functions.py"


def modules_with_examples():
    for path in sorted(SRC.rglob("*.py")):
        if path != FUNCTIONS and ">>> " in path.read_text():
            parts = path.relative_to(SRC).with_suffix("").parts
            yield ".".join(part for part in parts if part != "__init__")


@pytest.mark.slow
@pytest.mark.parametrize("name", modules_with_examples())
def test_the_examples_of_a_module_run(name):
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner()
    for example in doctest.DocTestFinder(exclude_empty=True).find(module):
        if IN_A_PROJECT not in str(example.docstring):
            runner.run(example)
    assert runner.tries > 0
    assert runner.summarize().failed == 0
