"""`maskmill doctor` about the machine: each condition is a real one."""

import resource
import shutil

import pytest
import torch

from maskmill.assembly.machine_checks import (
    check_gpu,
    check_machine,
    check_open_files,
    check_packages,
    check_space,
)


def install(folder, name, version, *requirements):
    """What pip writes about an installed package."""
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requirements]
    (folder / f"{name}-{version}.dist-info").mkdir()
    (folder / f"{name}-{version}.dist-info" / "METADATA").write_text("\n".join(lines) + "\n")


def test_packages_that_fit_together_are_ok(tmp_path):
    install(
        tmp_path, "street", "1.0", "paint>=2", "gpu; extra == 'fast'", "win; python_version<'3'"
    )
    install(tmp_path, "paint", "2.1rc1", "torch")
    install(tmp_path, "torch", "2.14.1")
    (found,) = check_packages("street", [str(tmp_path)])
    assert str(found) == "ok       3 packages: fit together: street 1.0, torch 2.14.1"


def test_each_wrong_or_missing_package_is_named_with_the_command_that_installs_it(tmp_path):
    install(tmp_path, "street", "1.0", "paint>=2,<3")
    install(tmp_path, "paint", "2.1", "brush==0.29.1", "oil")
    install(tmp_path, "brush", "0.30.0")
    assert list(map(str, check_packages("street", [str(tmp_path)]))) == [
        "error    brush: paint expects brush==0.29.1, but 0.30.0 is installed - "
        "run `pip install 'brush==0.29.1'`",
        "error    oil: paint expects oil, but none is installed - run `pip install 'oil'`",
    ]


def test_a_package_that_is_not_installed_is_an_error(tmp_path):
    (found,) = check_packages("street", [str(tmp_path)])
    assert str(found) == "error    street: is not installed - run `pip install street`"


@pytest.mark.slow
def test_the_packages_of_this_python_fit_together():
    (found,) = check_packages("maskmill")
    assert found.status == "ok"
    assert ", lightning 2." in found.found


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Put a program of this name on the PATH; PyTorch sees no GPU."""

    def write(script):
        (tmp_path / "nvidia-smi").write_text(script)
        (tmp_path / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return write


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "#!/bin/sh\necho 'GPU 0: NVIDIA H100'\n",
            "error    GPU: GPU 0: NVIDIA H100, but torch "
            f"(built for CUDA {torch.version.cuda or 'no'}) finds none - "
            "install a driver for this CUDA or the torch of your driver (pytorch.org), or correct "
            "CUDA_VISIBLE_DEVICES",
        ),
        (
            "#!/bin/sh\necho 'Driver/library version mismatch' >&2\nexit 18\n",
            "error    GPU: nvidia-smi fails: Driver/library version mismatch - "
            "install the driver again, or restart the machine after an update",
        ),
        ("no program", "error    GPU: nvidia-smi does not run: [Errno 8] Exec format error"),
    ],
    ids=["not-used", "driver-fails", "no-program"],
)
def test_a_gpu_that_torch_does_not_use_is_an_error(script, message, nvidia_smi):
    nvidia_smi(script)
    assert str(check_gpu()).startswith(message)


def test_a_machine_without_a_gpu_is_ok(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = check_gpu()
    assert found.status == "ok"
    assert found.found.startswith("none, ")


def test_less_space_than_needed_is_a_warning(tmp_path):
    free = shutil.disk_usage(tmp_path).free / 1e9
    found = check_space("disk", tmp_path, 2 * free + 1, "free space")
    assert found.status == "warning"
    assert found.found.startswith(f"{tmp_path}: expected {2 * free + 1:g} GB free, but got ")
    assert check_space("disk", tmp_path, free / 2, "free space").status == "ok"


def test_a_low_limit_of_open_files_is_a_warning():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        found = check_open_files(1024)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert str(found) == (
        "warning  open files: expected a limit of 1024 for a process, but got 256 - "
        "run `ulimit -n 1024`"
    )
    assert check_open_files(256).status == "ok"


@pytest.mark.slow
def test_everything_is_looked_at(tmp_path):
    subjects = [found.subject for found in check_machine(tmp_path)]
    assert subjects[0] == "Python"
    assert subjects[-5:] == [
        *("GPU", "disk of the project", "temporary files", "shared memory", "open files")
    ]
