"""The hardware, the versions of the packages, and the speed of a large matrix product."""

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

# Import name -> name of the distribution
PACKAGES = {
    **{"torch": "torch", "torchvision": "torchvision", "triton": "triton"},
    **{"lightning": "lightning", "torchmetrics": "torchmetrics", "numpy": "numpy"},
    **{"cv2": "opencv-python-headless", "albumentations": "albumentations", "scipy": "scipy"},
    **{"timm": "timm", "segmentation_models_pytorch": "segmentation_models_pytorch"},
    **{"transformers": "transformers", "hydra": "hydra-core", "pydantic": "pydantic"},
    **{"mlflow": "mlflow", "pycocotools": "pycocotools", "safetensors": "safetensors"},
    **{"joblib": "joblib", "psutil": "psutil", "filelock": "filelock", "jinja2": "jinja2"},
    **{"fsspec": "fsspec", "pytest": "pytest", "hypothesis": "hypothesis"},
    **{"onnx": "onnx", "onnxruntime": "onnxruntime", "onnxscript": "onnxscript"},
}


def measure(part):
    missing = [name for name in PACKAGES if find_spec(name) is None]
    part.fact("missing packages", ", ".join(missing) or "none")
    part.fact("Python", platform.python_version())
    part.fact("cores", len(os.sched_getaffinity(0)))
    for name, distribution in PACKAGES.items():
        if name not in missing:
            part.row("Versions", package=name, version=installed_version(distribution))
    import torch

    from maskmill.assembly.hardware import environment

    part.fact("processor", environment()["processor"])
    part.fact("CUDA", str(torch.version.cuda))
    part.fact("cuDNN", str(torch.backends.cudnn.version()))
    if part.device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        part.fact("GPU", properties.name)
        part.fact("GPU memory, GB", round(properties.total_memory / 1e9, 1))
        part.fact("compute capability", f"{properties.major}.{properties.minor}")
    side = part.size(8192, 256)
    part.fact(f"bf16 product of {side} x {side}, TFLOP/s", matrix_speed(torch, part.device, side))


def installed_version(distribution):
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "?"


def matrix_speed(torch, device, side, num_runs=10):
    matrix = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    for _ in range(3):
        matrix @ matrix
    wait(torch, device)
    start = time.perf_counter()
    for _ in range(num_runs):
        matrix @ matrix
    wait(torch, device)
    return round(2 * side**3 * num_runs / (time.perf_counter() - start) / 1e12, 2)


def wait(torch, device):
    if device == "cuda":
        torch.cuda.synchronize()
