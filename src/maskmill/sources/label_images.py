"""How a file spells the class of each pixel: gray levels or palette indices, colours, or a MATLAB matrix."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import io

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import VOID_CATEGORY
from maskmill.canonical.png import rgb_to_ids
from maskmill.canonical.runs import relabel
from maskmill.sources.class_maps import SMOOTHED, is_thin
from maskmill.sources.images import read_label_colors, read_label_image

Labels = npt.NDArray[np.int32]


class LabelImage(ABC):
    """A spelling of class maps; `void_ids` are the values by which it says "not labelled" itself."""

    void_ids: frozenset[int] = frozenset()

    @abstractmethod
    def read(self, path: Path, categories: Categories) -> Labels:
        """Category ids and void ids, (H, W) int32.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it does not decode, or is spelt otherwise.
        """


class IndexImage(LabelImage):
    """A gray image whose level, or a palette image whose index, is the class id."""

    def read(self, path: Path, categories: Categories) -> Labels:
        """As they are; see `LabelImage.read`."""
        return read_label_image(path)


class ColorImage(LabelImage):
    """An RGB image in which each class has the `color` of the category table.

    Args:
        void_colors: further colours, which mean "not labelled".
    """

    void_ids = frozenset({VOID_CATEGORY})

    def __init__(self, void_colors: Sequence[tuple[int, int, int]] = ()) -> None:
        self.void_colors = tuple(void_colors)

    def read(self, path: Path, categories: Categories) -> Labels:
        """By exact colour; see `LabelImage.read`.

        Raises:
            ValueError: two classes have one colour, or the image a colour of none.
        """
        table = {_code(color): VOID_CATEGORY for color in self.void_colors} | {
            _code(one.color): one.id for one in categories
        }
        if len(table) < len(categories) + len(self.void_colors):
            raise ValueError(
                "Expected a colour for each class, but two have the same - mend the colours in conf/source"
            )
        codes = rgb_to_ids(read_label_colors(path))
        unknown = np.setdiff1d(codes, list(table))
        if unknown.size:
            colors = [(code & 255, code >> 8 & 255, code >> 16) for code in unknown[:5].tolist()]
            if is_thin(np.isin(codes, unknown)):
                mend = "export the labels again without smoothing: resized by nearest neighbour, not as JPEG"
                raise ValueError(
                    f"{path}: expected colours of the category table, but got {colors}: {SMOOTHED} - {mend}"
                )
            raise ValueError(
                f"{path}: expected colours of the category table, but got {colors} - add them to it or to void_colors"
            )
        return relabel(codes, table, default=VOID_CATEGORY)


class MatlabMatrix(LabelImage):
    """A MATLAB file, version 5 to 7.2, that holds a matrix of class ids.

    Args:
        variable: the matrix's name.
    """

    def __init__(self, variable: str) -> None:
        self.variable = variable

    def read(self, path: Path, categories: Categories) -> Labels:
        """As they are; see `LabelImage.read`."""
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: expected labels here, but there is no such file - add it or take it off the list"
            )
        try:
            content = io.loadmat(path, variable_names=[self.variable])
        except NotImplementedError as error:  # version 7.3 is HDF5
            raise ValueError(
                f"{path}: expected a MATLAB file of version 5 to 7.2, but got 7.3 - save it with '-v7'"
            ) from error
        except Exception as error:  # scipy raises whatever a broken field makes it
            raise ValueError(
                f"{path}: expected a whole MATLAB file, but it is cut short or damaged ({error}) - replace the file"
            ) from error
        matrix = content.get(self.variable)
        if (
            not isinstance(matrix, np.ndarray)
            or matrix.ndim != 2
            or matrix.dtype.kind not in "ui"
            or matrix.size == 0
        ):
            found = None if matrix is None else f"{matrix.dtype} of shape {matrix.shape}"
            raise ValueError(
                f"{path}: expected a matrix of whole numbers called {self.variable!r}, but got {found} - check conf/source"
            )
        return matrix.astype(np.int32)


def _code(color: Sequence[int]) -> int:
    red, green, blue = color
    return red | green << 8 | blue << 16
