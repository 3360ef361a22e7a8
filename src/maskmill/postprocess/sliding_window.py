"""Windows through the network, their maps blended: any image in the memory of its final maps and one row of windows."""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from maskmill.postprocess.prediction import Image, Network, Postprocess, Prediction
from maskmill.postprocess.semantic import likeliest
from maskmill.postprocess.views import Views, check_map
from maskmill.postprocess.whole_image import stack
from maskmill.postprocess.windows import Span, Tiling

Maps = dict[str, Tensor]
ROWS = 64  # finished together: what a mean and its likeliest class need beside the sums


class SlidingWindow:
    """Overlapping windows, blended by a Gaussian (nnU-Net: Isensee et al., Nature Methods 2021), for outputs that are maps.

    Instances are found once all maps are whole, so one that lies across windows is one. Class logits are held for one row of windows only:
    a finished row keeps the likeliest class and its probability. The maps take 5 bytes per pixel of the image, for Panoptic-DeepLab 17; the
    sums 4 (outputs + 1) bytes per pixel of one row of windows. With image, segments and heap, benchmarks/large_image.py measures some 30.

    Args:
        window: height and width in px.
        overlap: share of a window that the next one sees again, at least.
        margin: px at a window's inner edges that do not count, see `Tiling`.
        views: flips and scales of each window to average over; None is the window alone.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        window: tuple[int, int],
        *,
        overlap: float = 0.5,
        margin: int = 0,
        views: Views | None = None,
    ) -> None:
        self.tiling, self.views = Tiling(window, overlap, margin), views

    def __call__(
        self, network: Network, postprocess: Postprocess, images: Iterable[Image], batch_size: int
    ) -> Iterator[Prediction]:
        """Predict image by image, `batch_size` windows at once."""
        for image in images:
            yield from postprocess(
                self.maps(network, image, batch_size), [(image.shape[0], image.shape[1])]
            )

    @torch.inference_mode()
    def maps(self, network: Network, image: Image, batch_size: int) -> Maps:
        """The blended outputs of one image, on the CPU.

        Args:
            network: images to maps.
            image: (H, W, 3) uint8.
            batch_size: windows at once.

        Returns:
            `classes` (1, H, W) uint8 and `confidence` (1, H, W) float32 for `semantic`; the other outputs as (1, ?, H, W) float32.

        Raises:
            ValueError: the outputs are no maps.
        """
        network = network if self.views is None else self.views(network)
        height, width = image.shape[:2]
        rows, columns = self.tiling.spans(0, height), self.tiling.spans(1, width)
        whole: Maps = {}
        band = Band(width)
        for place, row in enumerate(rows):
            self._fill(band, network, image, row, columns, batch_size)
            end = height if row.last else rows[place + 1].begin
            for begin in range(row.begin, end, ROWS):
                finished = slice(begin, min(begin + ROWS, end))
                for name, value in reduced(
                    band.means(finished.start - row.begin, finished.stop - row.begin)
                ).items():
                    if name not in whole:
                        whole[name] = torch.empty(
                            *value.shape[:-2], height, width, dtype=value.dtype
                        )
                    whole[name][..., finished, :] = value
            band.drop(end - row.begin)
        return whole

    def _fill(
        self,
        band: "Band",
        network: Network,
        image: Image,
        row: Span,
        columns: list[Span],
        batch_size: int,
    ) -> None:
        """Add one row of windows to the band that begins with it."""
        down = self.tiling.importance(0, row)
        for spans in _alike(columns, batch_size):
            outputs = network(stack([image[row.slice, span.slice] for span in spans]))
            size = (row.end - row.begin, spans[0].end - spans[0].begin)
            checked = {name: check_map(name, value, size) for name, value in outputs.items()}
            for place, span in enumerate(spans):
                weight = down.view(-1, 1) * self.tiling.importance(1, span)  # (h, w)
                band.add({name: value[place] for name, value in checked.items()}, weight, span)


class Band:
    """Weighted sums over the rows of the image that windows are still adding to."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.sums: Maps = {}

    def add(self, outputs: Mapping[str, Tensor], weight: Tensor, span: Span) -> None:
        """Add the maps (?, h, w) of one window whose rows begin with the band's, weighted by (h, w)."""
        for name, value in {**outputs, "weight": torch.ones_like(weight)[None]}.items():
            rows = self._rows(name, value)[:, : value.shape[1], span.slice]
            rows.addcmul_(value.to(rows.dtype), weight.to(rows.device))

    def means(self, begin: int, end: int) -> Maps:
        """The mean over the windows in some rows, (1, ?, rows, W) each."""
        weight = self.sums["weight"][:, begin:end]
        return {
            name: (total[:, begin:end] / weight.to(total.device))[None]
            for name, total in self.sums.items()
            if name != "weight"
        }

    def drop(self, num_rows: int) -> None:
        """Forget the first rows; the band begins after them from now on."""
        for total in self.sums.values():
            left = total.shape[1] - num_rows
            for begin in range(
                0, left, num_rows
            ):  # piece by piece, so that none is copied onto itself
                piece = total[:, begin + num_rows : begin + 2 * num_rows]
                total[:, begin : begin + piece.shape[1]] = piece
            total[:, left:] = 0

    def _rows(self, name: str, value: Tensor) -> Tensor:
        """The sums of an output, on its device, with at least as many rows as it has."""
        missing = value.shape[1] - (self.sums[name].shape[1] if name in self.sums else 0)
        if missing > 0:
            empty = value.new_zeros((len(value), missing, self.width), dtype=torch.float32)
            self.sums[name] = (
                torch.cat([self.sums[name], empty], dim=1) if name in self.sums else empty
            )
        return self.sums[name]


def reduced(outputs: Mapping[str, Tensor]) -> Maps:
    """Maps on the CPU, with the likeliest class and its probability in place of class logits."""
    if "semantic" not in outputs:
        return {name: value.cpu() for name, value in outputs.items()}
    classes, confidence = likeliest(outputs)
    others = {name: value.cpu() for name, value in outputs.items() if name != "semantic"}
    return {"classes": classes.to(torch.uint8).cpu(), "confidence": confidence.cpu()} | others


def _alike(spans: list[Span], batch_size: int) -> Iterator[list[Span]]:
    """Neighbours of one length in lists of at most `batch_size`."""
    batch: list[Span] = []
    for span in spans:
        if batch and (
            len(batch) == batch_size or span.end - span.begin != batch[0].end - batch[0].begin
        ):
            yield batch
            batch = []
        batch.append(span)
    yield batch
