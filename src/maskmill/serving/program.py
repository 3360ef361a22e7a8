"""The network as a torch.export program: weights and computation in one file, without pickle."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from maskmill.networks.padding import Outputs, at_any_size
from maskmill.serving.model_files import PROGRAM
from maskmill.serving.program_check import check_program

STRIDE_ENTRY = "stride"  # an extra file inside the program's file
MAX_BATCH = 1024
MAX_SIDE_PX = 32_768
# Classes that torch.export cannot follow for any image size, and what it does instead. The tracing
# exporter of ONNX follows them in seconds.
NOT_FOLLOWED = {
    "SwinTransformerBlock": "it had not finished after nine minutes of solving for window sizes",
}


class Exportable(Protocol):
    """What a network offers besides `forward`.

    torch.export can follow `body`, which takes sizes that are multiples of the stride.
    """

    stride: int

    def body(self, images: Tensor) -> Outputs:
        """Images (B, 3, H, W) to outputs (B, C, H, W)."""


class Body(nn.Module):
    """The body of a network as a module of its own, since torch.export follows `forward`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Outputs:
        """Images (B, 3, H, W) uint8, H and W multiples of the stride, to outputs (B, C, H, W)."""
        body = cast(Exportable, self.network).body
        return body(images)


def export_program(network: nn.Module, folder: Path) -> Path:
    """Write the network as a program for batches of any number of images and any image size.

    Args:
        network: `Exportable`, in evaluation mode, on the CPU.
        folder: the folder to write to.

    Returns:
        the path of the program.

    Raises:
        ValueError: torch.export cannot follow the network.
    """
    require_followed(network)
    stride = int(network.stride)  # type: ignore[arg-type] # see Exportable
    example = torch.zeros(2, 3, 3 * stride, 4 * stride, dtype=torch.uint8)
    program = trace(Body(network), example, stride=stride)
    folder.mkdir(parents=True, exist_ok=True)
    torch.export.save(program, folder / PROGRAM, extra_files={STRIDE_ENTRY: str(stride)})
    return folder / PROGRAM


def require_followed(network: nn.Module) -> None:
    """Refuse a network that torch.export cannot follow, before it is tried.

    Raises:
        ValueError: it contains a class of `NOT_FOLLOWED`.
    """
    for module in network.modules():
        reason = NOT_FOLLOWED.get(type(module).__name__)
        if reason is not None:
            raise ValueError(
                "Expected a network that torch.export can follow for images of any size, but got "
                f"a {type(module).__name__}: {reason} - export it as onnx or openvino, or choose "
                "another encoder, as encoder=pvt_v2_b0"
            )


def trace(module: nn.Module, example: Tensor, *, stride: int) -> ExportedProgram:
    """The program of a module for batches of any number of images and any size.

    Args:
        module: takes images (B, 3, H, W) uint8, H and W multiples of the stride.
        example: of two images at least, and of different sides.
        stride: in px.
    """
    max_steps = MAX_SIDE_PX // stride
    rows = Dim("rows", min=2, max=max_steps)
    columns = Dim("columns", min=2, max=max_steps)
    dynamic = {0: Dim("batch", min=1, max=MAX_BATCH), 2: stride * rows, 3: stride * columns}
    with torch.no_grad(), exportable_padding():
        return torch.export.export(module, (example,), dynamic_shapes=(dynamic,))


@contextmanager
def exportable_padding() -> Iterator[None]:
    """Replace timm's "same" padding by the same numbers, which a program can contain.

    timm uses `math.ceil`, which a program with dynamic sizes cannot. Where the stride divides the
    size, as in all that `at_any_size` pads, the padding is a constant: padding that depends on the
    size makes the export of a network with four such layers more than twice as slow.
    """
    from timm.layers import padding  # production loads programs without timm

    def same_padding(x: int, kernel_size: int, stride: int, dilation: int) -> int:
        reach = (kernel_size - 1) * dilation + 1
        if x % stride == 0:
            return max(reach - stride, 0)
        num_steps = -(-x // stride)  # ceil(x / stride)
        return max((num_steps - 1) * stride + reach - x, 0)

    original = padding.get_same_padding
    padding.get_same_padding = same_padding
    try:
        yield
    finally:
        padding.get_same_padding = original


def load_program(folder: Path, *, device: str = "cpu") -> Callable[[Tensor], Outputs]:
    """Load the program as a function of images (B, 3, H, W) uint8 of any size.

    Raises:
        FileNotFoundError: the folder contains no program.
        ValueError: the program contains anything but tensors and their operators.
    """
    path = folder / PROGRAM
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected an exported program, but there is none - register the model again"
        )
    check_program(path)
    extra = {STRIDE_ENTRY: ""}
    module = torch.export.load(path, extra_files=extra).module().to(device)
    stride = int(extra[STRIDE_ENTRY])
    return lambda images: at_any_size(module, images, stride)
