"""A folder from which Docker builds the server: Dockerfile, compose.yaml and requirements.

Nothing is built or downloaded here.
"""

import shutil
import sys
from importlib.metadata import version
from pathlib import Path

from maskmill import __version__
from maskmill.canonical.files import write_text
from maskmill.serving.server.pages import ENVIRONMENT

# What the server imports. The package itself is installed without its dependencies, most of which
# are for training and need ten times the space.
REQUIREMENTS = (
    *("annotated-types", "fastapi", "httptools", "hydra-core", "jinja2", "numpy", "omegaconf"),
    *("opencv-python-headless", "pillow", "prometheus-client", "pycocotools", "pydantic"),
    *("python-multipart", "pyyaml", "safetensors", "typing-extensions", "uvicorn", "uvloop"),
    "zlib-ng",
)
NETWORKS = ("segmentation-models-pytorch", "timm", "torch", "torchvision", "transformers")
REGISTRY = ("mlflow", "onnxruntime")
MODEL = "model"  # the folder beside the Dockerfile, and in the container
FILES = ("Dockerfile", "compose.yaml", "requirements.txt", ".dockerignore")


def write_container(out: Path, *, model: str, port: int) -> list[Path]:
    """Write the files that build and run the server.

    Args:
        out: a folder that does not exist yet, or is empty.
        model: a folder that `train` wrote, which is copied; or models:/NAME@ALIAS or
            models:/NAME/VERSION, which the container loads from the registry.
        port: of the machine that runs the container.

    Returns:
        the paths.

    Raises:
        FileExistsError: `out` has content, or is a file.
        FileNotFoundError: `model` is no such folder.
    """
    _require_empty(out)
    is_registered = model.startswith("models:/")
    if not is_registered:
        _copy_model(Path(model), out / MODEL)
    values = {
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "version": __version__,
        "model": model if is_registered else f"/srv/{MODEL}",
        "is_registered": is_registered,
        "port": port,
        "pins": _pins(is_registered),
    }
    paths = []
    for name in FILES:
        template = ENVIRONMENT.get_template(f"container/{name.lstrip('.')}.jinja")
        paths.append(write_text(out / name, template.render(values) + "\n"))
    return paths


def _require_empty(out: Path) -> None:
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise FileExistsError(
            f"{out}: expected a new or an empty folder, but it has content - set package.out to "
            "another"
        )


def _copy_model(folder: Path, copy: Path) -> None:
    if not (folder / "model.json").is_file():
        raise FileNotFoundError(
            f"{folder}: expected a model (model.json), but there is none - either run `maskmill "
            "train` first or set package.model"
        )
    shutil.copytree(folder, copy)


def _pins(is_registered: bool) -> list[str]:
    """The installed versions of what the server imports."""
    names = [*REQUIREMENTS, *NETWORKS]
    if is_registered:
        names += REGISTRY
    pins = []
    for name in sorted(names):
        public, _, _ = version(name).partition("+")  # without the build's own label, as +cpu
        pins.append(f"{name}=={public}")
    return pins
