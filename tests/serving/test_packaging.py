import ast
import sys

from maskmill.assembly.code_digests import import_closure, source_files
from maskmill.assembly.registration import runtime_sources
from maskmill.serving.model_files import ModelFiles
from maskmill.serving.packaging import REQUIREMENTS
from strategies import CATEGORIES


def model(postprocess):
    config = {"task": {"postprocess": {"_target_": postprocess}}}
    return ModelFiles(None, config, CATEGORIES, "data", "fingerprint")


def test_the_sources_of_a_model_are_its_runtime_and_its_own_post_processing():
    names = set(runtime_sources(model("maskmill.postprocess.semantic.SemanticSegments")))
    assert {"__init__.py", "serving/predictor.py", "postprocess/semantic.py"} <= names
    assert "postprocess/mask_classification.py" not in names
    assert not any(name.startswith(("training", "stages", "data")) for name in names)


# Module -> package, where the names differ. pydantic brings typing_extensions, and torch is added
# for a model without a graph.
PACKAGES = {"cv2": "opencv-python-headless", "mlflow": "mlflow-skinny"}
OF_OTHERS = {"torch", "typing-extensions"}


def test_every_package_that_the_code_of_a_model_imports_is_required():
    names = set()
    for path in source_files(import_closure(["maskmill.serving.pyfunc_model"])).values():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import):
                names.update(alias.name.partition(".")[0] for alias in node.names)
            if isinstance(node, ast.ImportFrom):
                names.add(str(node.module).partition(".")[0])
    modules = names - sys.stdlib_module_names - {"maskmill"}
    packages = {PACKAGES.get(name, name.replace("_", "-")) for name in modules}
    assert packages - {*REQUIREMENTS, *OF_OTHERS} == set()
