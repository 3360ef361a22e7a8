"""What `maskmill export` reads and writes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge

Format = Literal["onnx", "openvino", "program"]


@dataclass(frozen=True)
class ExportSettings:
    """Input and output of `maskmill export`.

    Args:
        model: a folder that `train` wrote, or models:/NAME@ALIAS of the registry.
        format: one of onnx, openvino and program, or a list of them.
        images: a prepared split or any folder of images, on which the exports are compared with the
            network.
        out: folder for the model and its exports.
        num_images: images of it that are compared.
        int8: also write OpenVINO's graph in 8 bits; `images` must be a prepared split.
        num_calibration: images from which its ranges are measured.
        max_loss: of mIoU (semantic tasks) or PQ that it may lose on the split, a fraction.
    """

    model: str
    format: Format | tuple[Format, ...]
    images: Path
    out: Path
    num_images: Annotated[int, Ge(1)]
    int8: bool
    num_calibration: Annotated[int, Ge(1)]
    max_loss: Annotated[float, Ge(0)]

    @property
    def formats(self) -> tuple[Format, ...]:
        """The formats, each once."""
        formats = (self.format,) if isinstance(self.format, str) else self.format
        return tuple(dict.fromkeys(formats))
