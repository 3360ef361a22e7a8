"""A trained model as an MLflow model that loads without this repository."""

import shutil
import tempfile
from collections.abc import Sequence
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

PACKAGE = Path(maskmill.__file__).parent
# What the model's own code imports; the versions are those it was made with.
REQUIREMENTS = (
    *("mlflow", "torch", "numpy", "opencv-python-headless", "safetensors"),
    *("pydantic", "annotated-types"),
)
EXAMPLE_SIDE_PX = 96  # the input example is stored as text, so it is a corner of an image

MAP = (-1, -1, -1)  # (B, H, W) of any size
SIGNATURE = ModelSignature(
    inputs=Schema([TensorSpec(np.dtype(np.uint8), (*MAP, 3))]),
    outputs=Schema(
        [
            TensorSpec(np.dtype(np.int32), MAP, "category"),
            TensorSpec(np.dtype(np.int32), MAP, "instance"),
        ]
    ),
)


def _modules_of(folder: str) -> list[str]:
    names = sorted(path.stem for path in (PACKAGE / folder).glob("*.py"))
    return [f"maskmill.{folder}.{name}" for name in names if name != "__init__"]


# The modules of this package that production needs.
MODULES = (
    *_modules_of("canonical"),
    "maskmill.networks.padding",
    *_modules_of("postprocess"),
    "maskmill.serving.model_files",
    "maskmill.serving.predictor",
    "maskmill.serving.program",
)


def log_model(
    files: ModelFiles, network: nn.Module, example: RGB, *, modules: Sequence[str] = MODULES
) -> str:
    """Log the model to the active MLflow run.

    It consists of program, description, signature, input example, environment and code.

    Args:
        files: the trained model.
        network: its network with weights, in evaluation mode, on the CPU.
        example: (H, W, 3) uint8 RGB, a typical input.
        modules: dotted names of the maskmill modules that travel inside the model.

    Returns:
        the URI of the logged model, from which a version can be registered.
    """
    with tempfile.TemporaryDirectory() as temporary:
        artifact = Path(temporary) / "model"
        code = Path(temporary) / "maskmill"
        export_program(network, artifact)
        write_json(artifact / DESCRIPTION, describe(files))
        copy_modules(modules, code)
        corner = example[None, :EXAMPLE_SIDE_PX, :EXAMPLE_SIDE_PX]
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            artifacts={"model": str(artifact)},
            code_paths=[str(code)],
            signature=SIGNATURE,
            input_example=np.ascontiguousarray(corner),
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
            metadata={"fingerprint": files.fingerprint, "data_digest": files.data_digest},
        )
    return str(info.model_uri)


def copy_modules(modules: Sequence[str], folder: Path) -> None:
    """Copy modules of this package, and the `__init__.py` of their packages, to another folder.

    Args:
        modules: dotted names, as `maskmill.canonical.runs`.
        folder: becomes the package `maskmill`.
    """
    paths = {Path("__init__.py")}
    for module in modules:
        path = Path(*module.split(".")[1:])
        paths.add(path.with_suffix(".py"))
        paths.update(parent / "__init__.py" for parent in path.parents)
    for path in sorted(paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGE / path, folder / path)
