"""What a format of predictions must provide."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from maskmill.canonical.folder import ImageRecord
from maskmill.canonical.png import RGB
from maskmill.postprocess.prediction import Prediction


@dataclass(frozen=True)
class Entry:
    """What a format writes for one image.

    Args:
        files: name below the output folder -> content.
        row: a JSON value for `OutputFormat.finish`; floats are kept to the last digit.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    row: Any = None


Rows = Iterable[tuple[ImageRecord, Any]]  # images in their order, with the rows of their entries


class OutputFormat(Protocol):
    """Writes predictions: each image on its own, in several threads, then the files of all."""

    def entry(self, record: ImageRecord, image: RGB, prediction: Prediction) -> Entry:
        """The files of one image, and its row for those of all.

        Args:
            record: of the image.
            image: (H, W, 3) uint8.
            prediction: of the same size.
        """

    def finish(self, folder: Path, rows: Rows) -> None:
        """Write the files about all images, one row at a time.

        Args:
            folder: the output folder, which contains the files of the images.
            rows: can be iterated several times.
        """
