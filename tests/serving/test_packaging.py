from maskmill.assembly.registration import runtime_sources
from maskmill.serving.model_files import ModelFiles
from strategies import CATEGORIES


def model(postprocess):
    config = {"task": {"postprocess": {"_target_": postprocess}}}
    return ModelFiles(None, config, CATEGORIES, "data", "fingerprint")


def test_the_sources_of_a_model_are_its_runtime_and_its_own_post_processing():
    names = set(runtime_sources(model("maskmill.postprocess.semantic.SemanticSegments")))
    assert {"__init__.py", "serving/predictor.py", "postprocess/semantic.py"} <= names
    assert "postprocess/mask_classification.py" not in names
    assert not any(name.startswith(("training", "stages", "data")) for name in names)
