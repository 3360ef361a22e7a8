"""The network as a torch.export program: weights and computation in one file, without pickle or this package's code."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.export import Dim

from maskmill.canonical.files import write_bytes

PROGRAM = "program.pt2"


def export_program(network: nn.Module, folder: Path) -> Path:
    """Write the network as a program for batches of any number and any size.

    Args:
        network: in evaluation mode, on the CPU; images (B, 3, H, W) uint8 to a dict of outputs at (H, W).
        folder: where to.

    Returns:
        the file.
    """
    example = torch.zeros(2, 3, 96, 160, dtype=torch.uint8)
    dynamic = {0: Dim("batch", min=1, max=1024), 2: Dim("height", min=8, max=16384), 3: Dim("width", min=8, max=16384)}
    with torch.no_grad():
        program = torch.export.export(network, (example,), dynamic_shapes=(dynamic,))
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".part-{PROGRAM}"
    torch.export.save(program, part)
    path = write_bytes(folder / PROGRAM, part.read_bytes())
    part.unlink()
    return path


def load_program(folder: Path, *, device: str = "cpu") -> Callable[[Tensor], dict[str, Tensor]]:
    """Load the program as a function of images (B, 3, H, W) uint8.

    Raises:
        FileNotFoundError: the folder holds no program.
    """
    path = folder / PROGRAM
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected an exported program, but there is none - register the model again")
    module = torch.export.load(path).module()
    return cast(Callable[[Tensor], dict[str, Tensor]], module.to(device))
