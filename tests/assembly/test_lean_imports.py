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


STORAGE = """
import sys
from maskmill.assembly.lean_imports import import_torchmetrics
import_torchmetrics()
from lightning.fabric.utilities.cloud_io import _is_object_storage, get_filesystem
assert not _is_object_storage(get_filesystem("."))
assert "s3fs" not in sys.modules
import s3fs
assert _is_object_storage(s3fs.S3FileSystem())
"""


@pytest.mark.slow
def test_lightning_imports_no_object_store_for_local_folders(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", STORAGE], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
