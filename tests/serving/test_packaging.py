import subprocess
import sys

from maskmill.assembly.registration import runtime_sources
from maskmill.serving.model_files import ModelFiles
from maskmill.serving.packaging import copy_sources
from strategies import CATEGORIES


def model(postprocess):
    config = {"task": {"postprocess": {"_target_": postprocess}}}
    return ModelFiles(None, config, CATEGORIES, "data", "fingerprint")


def test_the_sources_of_a_model_are_its_runtime_and_its_own_post_processing():
    names = set(runtime_sources(model("maskmill.postprocess.semantic.SemanticSegments")))
    assert {"__init__.py", "serving/predictor.py", "postprocess/semantic.py"} <= names
    assert "postprocess/mask_classification.py" not in names
    assert not any(name.startswith(("training", "stages", "data")) for name in names)


def test_the_sources_of_a_registered_model_import_without_this_package(tmp_path):
    sources = runtime_sources(model("maskmill.postprocess.panoptic.PanopticGrouping"))
    copy_sources(sources, tmp_path / "maskmill")
    code = f"""
import sys
sys.path = [{str(tmp_path)!r}] + [path for path in sys.path if not path.endswith("src")]
sys.modules.pop("maskmill", None)
import maskmill.serving.model_files, maskmill.serving.predictor, maskmill.serving.program
import maskmill.postprocess.panoptic
assert maskmill.serving.program.__file__.startswith({str(tmp_path)!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
