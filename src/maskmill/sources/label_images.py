"""Encodings of class masks: gray levels or palette indices, colours, or a MATLAB matrix."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from annotated_types import Ge

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import VOID_CATEGORY
from maskmill.canonical.png import rgb_to_ids
from maskmill.canonical.runs import relabel
from maskmill.sources.class_maps import EXPORT_AGAIN, SMOOTHED, is_smoothed
from maskmill.sources.images import read_label_colors, read_label_image
from maskmill.sources.matlab_file import read_matrix

Labels = npt.NDArray[np.int32]


class LabelImage(ABC):
    """An encoding of class masks; `void_ids` are its own values that mean "not labelled"."""

    void_ids: frozenset[int] = frozenset()

    @abstractmethod
    def read(self, path: Path, categories: Categories) -> Labels:
        """Category ids and void ids, (H, W) int32.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: the file does not decode, or has another encoding.
        """


class IndexImage(LabelImage):
    """A gray image whose levels, or a palette image whose indices, are the class ids.

    Args:
        threshold: for masks of two classes, as 0/255 or with smoothed borders: from this level on a
            pixel has the class with the larger id, and below it the other. Such masks have no void.
    """

    def __init__(self, threshold: Annotated[int, Ge(1)] | None = None) -> None:
        self.threshold = threshold

    def read(self, path: Path, categories: Categories) -> Labels:
        """The levels or indices, (H, W) int32; see `LabelImage.read`."""
        labels = read_label_image(path)
        if self.threshold is None:
            return labels
        if len(categories) != 2:
            raise ValueError(
                f"Expected two categories for `threshold`, but got {len(categories)} - check "
                "conf/source"
            )
        low, high = sorted(category.id for category in categories)
        return np.where(labels >= self.threshold, high, low).astype(np.int32)


class ColorImage(LabelImage):
    """An RGB image in which each class has the `color` of the category table.

    Args:
        void_colors: further colours, which mean "not labelled".
        nearest: a pixel of another colour has the class, or the void colour, that is most similar,
            instead of being an error. For smoothed borders and JPEG files.
    """

    void_ids = frozenset({VOID_CATEGORY})

    def __init__(
        self, void_colors: Sequence[tuple[int, int, int]] = (), *, nearest: bool = False
    ) -> None:
        self.void_colors = tuple(void_colors)
        self.nearest = nearest

    def read(self, path: Path, categories: Categories) -> Labels:
        """The ids of the classes with these colours, (H, W) int32; see `LabelImage.read`.

        Raises:
            ValueError: two classes have the same colour, or a colour of the image has no class.
        """
        id_of_code = {_code(color): VOID_CATEGORY for color in self.void_colors}
        for category in categories:
            id_of_code[_code(category.color)] = category.id
        if len(id_of_code) < len(categories) + len(self.void_colors):
            raise ValueError(
                "Expected a different colour for each class, but two have the same - "
                "change the colours in conf/source"
            )
        codes = rgb_to_ids(read_label_colors(path))
        if self.nearest:
            return _nearest(codes, id_of_code)
        unknown = np.setdiff1d(codes, list(id_of_code))
        if unknown.size:
            colors = [_color(code) for code in unknown[:5].tolist()]
            message = f"{path}: expected colours of the category table, but got {colors}"
            if is_smoothed(codes, np.isin(codes, unknown)):
                raise ValueError(
                    f"{message}: {SMOOTHED} - either set `nearest: true` of ColorImage in "
                    f"conf/source or {EXPORT_AGAIN}"
                )
            raise ValueError(f"{message} - add them either to the table or to void_colors")
        return relabel(codes, id_of_code, default=VOID_CATEGORY)


class MatlabMatrix(LabelImage):
    """A MATLAB file of version 5 to 7.2 that contains a matrix of class ids.

    Args:
        variable: the name of the matrix.
    """

    def __init__(self, variable: str) -> None:
        self.variable = variable

    def read(self, path: Path, categories: Categories) -> Labels:
        """The matrix, (H, W) int32; see `LabelImage.read`."""
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: expected labels, but there is no such file - "
                "either add it or remove it from the list"
            )
        matrix = read_matrix(path, self.variable)
        if matrix.size == 0 or matrix.dtype.kind not in "ui":
            raise ValueError(
                f"{path}: expected a matrix of integers called {self.variable!r}, but got "
                f"{matrix.dtype} of shape {matrix.shape} - check conf/source"
            )
        ids: npt.NDArray[np.int32] = matrix.astype(np.int32)
        return ids


def _nearest(codes: Labels, id_of_code: Mapping[int, int]) -> Labels:
    """The id of the most similar colour of each pixel; of two equally similar, the first."""
    distinct, index_of_pixel = np.unique(codes, return_inverse=True)
    colors = np.stack(_color(distinct), axis=-1)
    ids = np.zeros(len(distinct), np.int32)
    nearest = np.full(len(distinct), np.iinfo(np.int32).max)
    for code, category_id in id_of_code.items():
        distance = np.square(colors - _color(code)).sum(axis=-1)
        ids = np.where(distance < nearest, category_id, ids)
        nearest = np.minimum(distance, nearest)
    return ids[index_of_pixel].reshape(codes.shape).astype(np.int32)


def _code(color: Sequence[int]) -> int:
    red, green, blue = color
    return red | green << 8 | blue << 16


def _color(code: Any) -> tuple[Any, Any, Any]:
    """Red, green and blue of a code, or of each code of an array."""
    return code & 255, code >> 8 & 255, code >> 16
