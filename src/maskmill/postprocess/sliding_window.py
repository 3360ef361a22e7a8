"""Inference in overlapping windows whose output maps are blended.

An image of any size needs memory for its final maps and one row of windows.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
from annotated_types import Ge

from maskmill.postprocess.array_network import ArrayNetwork
from maskmill.postprocess.either import (
    Either,
    add_product,
    as_array,
    as_float32,
    at,
    concatenate,
    zeros,
)
from maskmill.postprocess.prediction import Image, Network, Outputs, Postprocess, Prediction
from maskmill.postprocess.views import Views, check_map, require_logits
from maskmill.postprocess.whole_image import stack
from maskmill.postprocess.windows import Overlap, Span, Tiling, WindowSize

if TYPE_CHECKING:
    from maskmill.postprocess.torch_network import TorchNetwork

Maps = dict[str, Either]
ROWS = 64  # finished at a time; their means and probabilities need memory beside the sums


class SlidingWindow:
    """Overlapping windows, blended by a Gaussian, for networks whose outputs are maps.

    The Gaussian is that of nnU-Net (Isensee et al., Nature Methods 2021). Instances are found in
    the maps of the whole image, so an instance that crosses windows is one instance.

    Class logits are stored for one row of windows only: a finished row keeps the most likely class
    and its probability. The maps need 5 bytes per pixel of the image (17 for Panoptic-DeepLab), and
    the sums need 4 (outputs + 1) bytes per pixel of one row of windows. With image, segments and
    heap, benchmarks/large_image.py measures about 30 bytes per pixel.

    Args:
        window: height and width in px; None: those of the crops that the model was trained with,
            which are known when it is loaded.
        overlap: minimum share of a window that the next window covers too.
        margin: px at a window's inner edges that are ignored, see `Tiling`.
        views: flips and scales of each window to average over; None uses the window alone.

    Raises:
        ValueError: the margins are so wide that some pixels are in no window.
    """

    def __init__(
        self,
        window: WindowSize | None,
        *,
        overlap: Overlap = 0.5,
        margin: Annotated[int, Ge(0)] = 0,
        views: Views | None = None,
    ) -> None:
        self.tiling = Tiling(window, overlap, margin)
        self.views = views
        self.averages_logits = True
        self.needs_torch = bool(getattr(views, "needs_torch", False))

    def __call__(
        self, network: Network, postprocess: Postprocess, images: Iterable[Image], batch_size: int
    ) -> Iterator[Prediction]:
        """The prediction for each image, with `batch_size` windows at a time."""
        for image in images:
            height, width = image.shape[:2]
            yield from postprocess(self.maps(network, image, batch_size), [(height, width)])

    def maps(self, network: Network, image: Image, batch_size: int) -> Outputs:
        """The blended outputs of one image.

        Args:
            network: images to maps, with logits.
            image: (H, W, 3) uint8.
            batch_size: windows at a time.

        Returns:
            `classes` (1, H, W) and `confidence` (1, H, W) float32 instead of `semantic`; the other
            outputs as (1, channels, H, W) float32.

        Raises:
            ValueError: an output is not a map, or the network gives classes only.
        """
        if self.views is not None:
            network = self.views(network)
        with_logits = require_logits(network, "inference=sliding_window")
        height, width = image.shape[:2]
        window_rows = self.tiling.spans(0, height)
        window_columns = self.tiling.spans(1, width)
        band = Band(width)
        maps: dict[str, npt.NDArray[Any]] = {}
        for index, row in enumerate(window_rows):
            self._add_windows(band, with_logits, image, row, window_columns, batch_size)
            stop = height if row.is_last else window_rows[index + 1].start
            for start in range(row.start, stop, ROWS):
                finished = slice(start, min(start + ROWS, stop))
                means = band.means(finished.start - row.start, finished.stop - row.start)
                _store_rows(maps, with_logits.reduce(means), finished, (height, width))
            band.drop(stop - row.start)
        return maps

    def _add_windows(
        self,
        band: "Band",
        network: "ArrayNetwork | TorchNetwork",
        image: Image,
        row: Span,
        columns: list[Span],
        batch_size: int,
    ) -> None:
        """Add one row of windows to the band, which starts at the same row of the image."""
        importance_y = self.tiling.importance(0, row)  # (H,) of the window
        for batch in _batches(columns, batch_size):
            windows = [image[row.slice, column.slice] for column in batch]
            outputs = network.maps(stack(windows))
            for name, value in outputs.items():
                check_map(name, value, (row.length, batch[0].length))
            for index, column in enumerate(batch):
                importance_x = self.tiling.importance(1, column)  # (W,)
                weight = importance_y[:, None] * importance_x  # (H, W) of the window
                window_outputs = {name: value[index] for name, value in outputs.items()}
                band.add(window_outputs, weight, column)


class Band:
    """Weighted sums for the image rows to which windows are still added.

    Args:
        width: of the image.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.sums: Maps = {}

    def add(self, outputs: Maps, weight: npt.NDArray[np.float32], span: Span) -> None:
        """Add the maps of one window whose first row is that of the band.

        Args:
            outputs: maps (channels, H, W) of the window.
            weight: (H, W).
            span: columns of the window.
        """
        ones = np.ones_like(weight)[None]
        for name, value in {**outputs, "weight": ones}.items():
            sums = self._sums_with_rows(name, value)[:, : value.shape[1], span.slice]
            add_product(sums, as_float32(value), at(weight, sums))

    def means(self, start: int, stop: int) -> Maps:
        """The means over the windows in some rows, each (1, channels, stop - start, W)."""
        weight = self.sums["weight"][:, start:stop]
        means = {}
        for name, sums in self.sums.items():
            if name != "weight":
                means[name] = (sums[:, start:stop] / at(weight, sums))[None]
        return means

    def drop(self, num_rows: int) -> None:
        """Remove the first rows; the band then starts after them."""
        for sums in self.sums.values():
            num_kept = sums.shape[1] - num_rows
            # in chunks, so that no chunk overlaps its copy
            for start in range(0, num_kept, num_rows):
                chunk = sums[:, start + num_rows : start + 2 * num_rows]
                sums[:, start : start + chunk.shape[1]] = chunk
            sums[:, num_kept:] = 0

    def _sums_with_rows(self, name: str, value: Either) -> Either:
        """The sums of an output, on its device, extended to at least the rows of `value`."""
        sums = self.sums.get(name)
        if sums is None:
            sums = zeros((len(value), 0, self.width), value)
        num_missing = value.shape[1] - sums.shape[1]
        if num_missing > 0:
            new = zeros((len(value), num_missing, self.width), value)
            sums = concatenate([sums, new], axis=1)
        self.sums[name] = sums
        return sums


def _store_rows(
    maps: dict[str, npt.NDArray[Any]],
    finished: Mapping[str, Either],
    rows: slice,
    size: tuple[int, int],
) -> None:
    """Write finished rows (..., rows, W) into the maps (..., H, W) of the image."""
    for name, value in finished.items():
        array = as_array(value)
        if name not in maps:
            maps[name] = np.empty((*array.shape[:-2], *size), array.dtype)
        maps[name][..., rows, :] = array


def _batches(spans: list[Span], batch_size: int) -> Iterator[list[Span]]:
    """Lists of at most `batch_size` consecutive spans of the same length."""
    batch: list[Span] = []
    for span in spans:
        if batch and (len(batch) == batch_size or batch[0].length != span.length):
            yield batch
            batch = []
        batch.append(span)
    yield batch
