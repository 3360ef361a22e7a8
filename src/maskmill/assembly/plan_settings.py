"""What `maskmill plan` reads, what it may spend, and where it writes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt


@dataclass(frozen=True)
class PlanSettings:
    """Input, budget and output of a plan.

    Args:
        data: the folder that `prepare` wrote.
        out: the experiment to write, a file of a folder conf/experiment.
        minutes: of training on this machine; the speed of a step is measured.
        epochs: instead of `minutes`; then nothing is measured.
        task: null: what the category table allows.
        device: auto: a GPU if PyTorch sees one.
        weights: of the encoder: of the installed package, of timm's hub, or random; auto: of the
            package if it is installed.

    Raises:
        ValueError: `out` is not a file that Hydra finds as an experiment.
    """

    data: Path
    out: Path
    minutes: Annotated[float, Gt(0)]
    epochs: Annotated[int, Ge(1)] | None = None
    task: Literal["semantic", "instance", "panoptic"] | None = None
    device: Literal["auto", "cpu", "gpu"] = "auto"
    weights: Literal["auto", "package", "hub", "none"] = "auto"

    def __post_init__(self) -> None:
        if self.out.suffix != ".yaml" or self.out.parent.name != "experiment":
            raise ValueError(
                f"plan.out: expected a file conf/experiment/NAME.yaml, but got {self.out} - Hydra "
                "looks for experiments there"
            )
