"""Which torchmetrics a training imports; tests/stages/test_import_budget.py counts its modules."""

import subprocess
import sys

import pytest

IMPORT = """
import sys
from maskmill.assembly.lean_imports import import_torchmetrics
import_torchmetrics()
assert "torchmetrics" not in sys.modules
"""


@pytest.mark.slow
def test_a_project_with_code_of_its_own_leaves_the_import_to_lightning(project):
    (project / "conf").mkdir()
    (project / "conf/targets.yaml").write_text("configuration: [street_nets]\n")
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
