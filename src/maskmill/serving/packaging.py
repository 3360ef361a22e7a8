"""A trained model as an MLflow model that loads without this repository."""

import logging
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types.schema import DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from torch import nn

from maskmill.canonical.files import write_json
from maskmill.canonical.png import RGB
from maskmill.postprocess.torch_network import TorchNetwork
from maskmill.serving.model_files import DESCRIPTION, REFERENCE, ModelFiles, describe
from maskmill.serving.onnx_network import GRAPH, OnnxNetwork
from maskmill.serving.prediction_settings import in_words
from maskmill.serving.predictor import Predictor
from maskmill.serving.program import export_program

log = logging.getLogger(__name__)

# Without pip, as in an environment of uv, MLflow warns that the model does not pin pip. Nothing of
# the model needs a certain pip.
MLFLOW_ENVIRONMENT_LOG = logging.getLogger("mlflow.utils.environment")
MLFLOW_ENVIRONMENT_LOG.addFilter(lambda record: "installed pip version" not in str(record.msg))

# What the model's own code imports; the versions are those it was made with. `mlflow` itself would
# bring scikit-learn, SciPy, Matplotlib and PyArrow, which need twice as much space as all of these.
REQUIREMENTS = (
    *("mlflow-skinny", "pandas", "numpy", "opencv-python-headless", "pycocotools"),
    *("pydantic", "annotated-types", "zlib-ng"),
)
MIN_SHARE = 0.9999  # of the example's pixels that graph and network must give the same segment
# By which a registration finds the model again if it was killed
MODEL_TAG = "maskmill.model"
PREDICTION_TAG = "maskmill.prediction"
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
    params=ParamSchema(
        [
            ParamSpec("output", DataType.string, "maps"),
            ParamSpec("batch_size", DataType.integer, 8),
        ]
    ),
)


def log_model(
    files: ModelFiles, network: nn.Module, example: RGB, *, sources: Mapping[str, Path]
) -> str:
    """Log the model to the active MLflow run.

    It consists of program, graph, description, signature, input example, environment and code.
    Without a graph, its environment needs torch.

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
        has_graph = export_graph(network, artifact, files, example)
        try:
            export_program(network, artifact)
        except ValueError as error:
            if not has_graph:
                raise
            log.warning("the model is registered as an ONNX graph alone: %s", error)
        requirements = (*REQUIREMENTS, "onnxruntime" if has_graph else "torch")
        if files.reference is not None:
            shutil.copy(files.folder / REFERENCE, artifact / REFERENCE)
        write_json(artifact / DESCRIPTION, describe(files, artifact))
        copy_sources(sources, code)
        corner = example[None, :EXAMPLE_SIDE_PX, :EXAMPLE_SIDE_PX]
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            artifacts={"model": str(artifact)},
            code_paths=[str(code)],
            signature=SIGNATURE,
            input_example=np.ascontiguousarray(corner),
            pip_requirements=[f"{name}=={version(name)}" for name in requirements],
            tags=_tags(files),
            metadata={"fingerprint": files.fingerprint, "data_digest": files.data_digest},
        )
    return str(info.model_uri)


def _tags(files: ModelFiles) -> dict[str, str]:
    tags = {MODEL_TAG: files.fingerprint}
    prediction = files.prediction.text()
    return tags | ({PREDICTION_TAG: prediction} if prediction else {})


def export_graph(network: nn.Module, folder: Path, files: ModelFiles, example: RGB) -> bool:
    """Write the network as an ONNX graph, if it gives the same segments.

    Args:
        network: in evaluation mode, on the CPU.
        folder: the folder to write to.
        files: the trained model.
        example: (H, W, 3) uint8 RGB, a typical input.

    Returns:
        whether there is a graph; if not, the log says why.
    """
    inference = files.prediction.make_inference()
    if inference.needs_torch:
        log.warning(
            "the model is registered as a program alone, which needs PyTorch where it predicts, "
            "because it was tested with %s, which computes in PyTorch",
            in_words(files.prediction),
        )
        return False
    try:
        from maskmill.serving.onnx_export import export_onnx  # its packages are an extra

        postprocess = files.postprocess()
        temperature = postprocess.table.calibration.temperature
        logits = inference.averages_logits
        path = export_onnx(network, folder, temperature=temperature, logits=logits)
    except (ImportError, ValueError, RuntimeError) as error:  # torch's exporters raise the last
        (folder / GRAPH).unlink(missing_ok=True)
        log.warning(
            "the model is registered as a program alone, which needs PyTorch where it predicts, "
            "because it has no ONNX graph: %s - either install 'maskmill[onnx]' or ignore this",
            error,
        )
        return False
    share = share_of_equal_pixels(
        Predictor(TorchNetwork(network, temperature=temperature), postprocess, inference=inference),
        Predictor(OnnxNetwork(path, temperature=temperature), postprocess, inference=inference),
        example,
    )
    if share < MIN_SHARE:
        path.unlink()
        log.warning(
            "the model is registered as a program alone: its ONNX graph agrees with the network in "
            "%.4f of the pixels of an image, and %.4f are required",
            share,
            MIN_SHARE,
        )
    return share >= MIN_SHARE


def share_of_equal_pixels(predictor: Predictor, other: Predictor, image: RGB) -> float:
    """The share of an image's pixels that get the same class and segment from both."""
    (first,) = predictor([image])
    (second,) = other([image])
    same_class = first.semantic == second.semantic
    same_segment = first.panoptic.ids == second.panoptic.ids
    return float(np.mean(same_class & same_segment))


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
