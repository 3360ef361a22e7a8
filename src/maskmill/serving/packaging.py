"""A trained model as an MLflow model that loads without this repository."""

import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types.schema import Schema, TensorSpec
from torch import nn

from maskmill.canonical.files import write_json
from maskmill.canonical.png import RGB
from maskmill.serving.model_files import DESCRIPTION, ModelFiles, describe
from maskmill.serving.program import export_program

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


def log_model(
    files: ModelFiles, network: nn.Module, example: RGB, *, sources: Mapping[str, Path]
) -> str:
    """Log the model to the active MLflow run.

    It consists of program, description, signature, input example, environment and code.

    Args:
        files: the trained model.
        network: its network with weights, in evaluation mode, on the CPU.
        example: (H, W, 3) uint8 RGB, a typical input.
        sources: path within this package -> file, of the code that travels inside the model.

    Returns:
        the URI of the logged model, from which a version can be registered.
    """
    with tempfile.TemporaryDirectory() as temporary:
        artifact = Path(temporary) / "model"
        code = Path(temporary) / "maskmill"
        export_program(network, artifact)
        write_json(artifact / DESCRIPTION, describe(files))
        copy_sources(sources, code)
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


def copy_sources(sources: Mapping[str, Path], folder: Path) -> None:
    """Copy source files of this package to a folder that becomes the package.

    Args:
        sources: path within the package -> file.
        folder: the new package.
    """
    for name, path in sources.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
