"""The machine: installed packages, GPUs, disks, shared memory, open files."""

import os
import platform
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from maskmill.assembly.diagnosis import Diagnosis

SHOWN = ("torch", "torchvision", "lightning", "hydra-core", "mlflow", "dvc")
GB = 1_000_000_000
DISK_GB = 5.0  # data in the canonical format, two checkpoints, runs
TEMPORARY_GB = 1.0
SHARED_GB = 1.0  # Docker gives 64 MB; loader processes hand over batches in it
NUM_FILES = 1024  # the usual limit, which four loader processes and MLflow fit into
SHARED = Path("/dev/shm")  # nosec B108 - it is measured, not written
ANSWER_S = 20.0  # nvidia-smi waits for a driver that hangs


def check_machine(project: Path) -> Iterator[Diagnosis]:
    """Everything that has nothing to do with the project, except for its disk."""
    yield Diagnosis("ok", "Python", f"{platform.python_version()} on {platform.platform()}")
    yield from check_packages("maskmill")
    yield check_gpu()
    yield check_space("disk of the project", project, DISK_GB, "free space there, or move it")
    yield check_space(
        "temporary files",
        Path(tempfile.gettempdir()),
        TEMPORARY_GB,
        "free space there, or set TMPDIR to another folder",
    )
    if SHARED.is_dir():
        fix = "set data.num_workers=0, or start the container with --shm-size=2g"
        yield check_space("shared memory", SHARED, SHARED_GB, fix)
    yield check_open_files(NUM_FILES)


def check_packages(root: str, path: list[str] | None = None) -> Iterator[Diagnosis]:
    """Whether each package that `root` needs, directly or not, is there and in a version that fits.

    Args:
        root: name of a package.
        path: folders to search; None: those of this Python.
    """
    installed = _find(root, path)
    if installed is None:
        yield Diagnosis("error", root, "is not installed", f"run `pip install {root}`")
        return
    versions: dict[str, str] = {canonicalize_name(root): installed.version}
    waiting = [installed]
    num_problems = 0
    while waiting:
        needing = waiting.pop()
        for text in needing.requires or []:
            requirement = Requirement(text)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            needed = _find(requirement.name, path)
            found = None if needed is None else needed.version
            if needed is None or not requirement.specifier.contains(needed.version, True):
                num_problems += 1
                yield _wrong_version(requirement, found, needing.metadata["Name"])
                continue
            name = canonicalize_name(requirement.name)
            if name not in versions:
                versions[name] = needed.version
                waiting.append(needed)
    if num_problems == 0:
        words = [f"{root} {installed.version}"]
        for shown in SHOWN:
            if shown in versions:
                words.append(f"{shown} {versions[shown]}")
        yield Diagnosis("ok", f"{len(versions)} packages", f"fit together: {', '.join(words)}")


def _find(name: str, path: list[str] | None) -> Distribution | None:
    try:
        if path is None:
            return distribution(name)
        return next(iter(Distribution.discover(name=name, path=path)), None)
    except PackageNotFoundError:
        return None


def _wrong_version(requirement: Requirement, found: str | None, needing: str) -> Diagnosis:
    expected = f"{requirement.name}{requirement.specifier}"
    return Diagnosis(
        "error",
        requirement.name,
        f"{needing} expects {expected}, but {found or 'none'} is installed",
        f"run `pip install '{expected}'`",
    )


def check_gpu() -> Diagnosis:
    """Whether PyTorch uses the GPU that the machine has."""
    import torch  # seconds: not for --help

    if torch.cuda.is_available():
        names = []
        for index in range(torch.cuda.device_count()):
            memory = torch.cuda.get_device_properties(index).total_memory
            names.append(f"{torch.cuda.get_device_name(index)} with {memory / GB:.0f} GB")
        use = f"CUDA {torch.version.cuda}, use trainer=gpu"
        return Diagnosis("ok", "GPU", f"{', '.join(names)}; {use}")
    program = shutil.which("nvidia-smi")
    if program is None:
        found = f"none, {os.cpu_count()} processor cores, {torch.get_num_threads()} threads"
        return Diagnosis("ok", "GPU", found)
    try:
        answer = subprocess.run(
            [program, "-L"], capture_output=True, text=True, check=False, timeout=ANSWER_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Diagnosis("error", "GPU", f"nvidia-smi does not run: {error}", "restart the driver")
    lines = [*answer.stdout.splitlines(), *answer.stderr.splitlines(), "no answer"]
    if answer.returncode != 0:
        fix = "install the driver again, or restart the machine after an update"
        return Diagnosis("error", "GPU", f"nvidia-smi fails: {lines[0]}", fix)
    found = f"{lines[0]}, but torch (built for CUDA {torch.version.cuda or 'no'}) finds none"
    fix = (
        "install a driver for this CUDA or the torch of your driver (pytorch.org), or correct "
        "CUDA_VISIBLE_DEVICES"
    )
    return Diagnosis("error", "GPU", found, fix)


def check_space(subject: str, folder: Path, needed_gb: float, fix: str) -> Diagnosis:
    """Whether a file system has that much free space.

    Args:
        subject: its name in the message.
        folder: on it.
        needed_gb: in units of 10^9 bytes.
        fix: what to do if it has less.
    """
    free = shutil.disk_usage(folder).free / GB
    if free < needed_gb:
        found = f"{folder}: expected {needed_gb:g} GB free, but got {free:.2f} GB"
        return Diagnosis("warning", subject, found, fix)
    return Diagnosis("ok", subject, f"{folder}: {free:.1f} GB free")


def check_open_files(needed: int) -> Diagnosis:
    """Whether a process may open that many files."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit != resource.RLIM_INFINITY and limit < needed:
        found = f"expected a limit of {needed} for a process, but got {limit}"
        return Diagnosis("warning", "open files", found, f"run `ulimit -n {needed}`")
    number = "any number" if limit == resource.RLIM_INFINITY else f"{limit}"
    return Diagnosis("ok", "open files", f"{number} for a process")
