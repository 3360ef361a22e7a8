import subprocess
import sys

from maskmill.serving.packaging import MODULES, copy_modules


def test_modules_are_copied_with_the_init_files_of_their_packages(tmp_path):
    copy_modules(["maskmill.metrics.functional.mask_ap", "maskmill.canonical.runs"], tmp_path)
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.py")}
    assert names == {
        "__init__.py",
        "canonical/__init__.py",
        "canonical/runs.py",
        "metrics/__init__.py",
        "metrics/functional/__init__.py",
        "metrics/functional/mask_ap.py",
    }


def test_the_modules_of_a_registered_model_import_without_this_package(tmp_path):
    copy_modules(MODULES, tmp_path / "maskmill")
    code = f"""
import sys
sys.path = [{str(tmp_path)!r}] + [path for path in sys.path if not path.endswith("src")]
sys.modules.pop("maskmill", None)
import maskmill.serving.model_files, maskmill.serving.predictor, maskmill.serving.program
assert maskmill.serving.program.__file__.startswith({str(tmp_path)!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
