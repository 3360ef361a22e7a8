"""A trained model as an MLflow model that loads without this repository."""

import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types.schema import Schema, TensorSpec
from torch import nn

import maskmill
from maskmill.canonical.files import write_json
from maskmill.canonical.png import RGB
from maskmill.serving.model_files import DESCRIPTION, ModelFiles, describe
from maskmill.serving.program import export_program

# What the model's own code imports, with the versions it was made with.
REQUIREMENTS = (
    "mlflow",
    "torch",
    "numpy",
    "opencv-python-headless",
    "safetensors",
    "pydantic",
    "annotated-types",
)
# The part of this package that production needs; it travels inside the model.
CARRIED = (
    "__init__.py",
    "canonical",
    "networks/__init__.py",
    "networks/padding.py",
    "postprocess",
    "serving/__init__.py",
    "serving/model_files.py",
    "serving/predictor.py",
    "serving/program.py",
)
EXAMPLE_SIDE_PX = 96  # the input example is stored as text, so it is a corner of an image

SIGNATURE = ModelSignature(
    inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))]),
    outputs=Schema(
        [TensorSpec(np.dtype(np.int32), (-1, -1, -1), name) for name in ("category", "instance")]
    ),
)


def log_model(files: ModelFiles, network: nn.Module, example: RGB) -> str:
    """Log the model to the active MLflow run: program, description, signature, input example, environment and code.

    Args:
        files: the trained model.
        network: its network with weights, in evaluation mode, on the CPU.
        example: (H, W, 3) uint8 RGB, an image the model is made for.

    Returns:
        the logged model's URI, which a version can be registered from.
    """
    with tempfile.TemporaryDirectory() as temporary:
        artifact, code = Path(temporary) / "model", Path(temporary) / "maskmill"
        export_program(network, artifact)
        write_json(artifact / DESCRIPTION, describe(files))
        _copy_package(code)
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            artifacts={"model": str(artifact)},
            code_paths=[str(code)],
            signature=SIGNATURE,
            input_example=np.ascontiguousarray(example[None, :EXAMPLE_SIDE_PX, :EXAMPLE_SIDE_PX]),
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
            metadata={"fingerprint": files.fingerprint, "data_digest": files.data_digest},
        )
    return str(info.model_uri)


def _copy_package(code: Path) -> None:
    package = Path(maskmill.__file__).parent
    for name in CARRIED:
        source = package / name
        (code / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, code / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, code / name)
