"""Whether an exported network gives the same predictions as the network it was made from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np

from maskmill.canonical.png import RGB
from maskmill.postprocess.prediction import Network, Postprocess, Prediction
from maskmill.postprocess.whole_image import stack

MIN_SHARE = 0.9999  # of the pixels of each size that must be equal
# The batches that are compared, and the share of the images' sides that they show
BATCHES = ((1, 1.0), (3, 0.71), (7, 0.53))
NUM_TIMED = 3  # passes of which the median counts


@dataclass(frozen=True)
class Agreement:
    """The predictions of two networks for one batch.

    Args:
        batch: number of images.
        height: in px.
        width: in px.
        pixels: number of pixels of all images.
        equal_pixels: those that have the same category and belong to corresponding segments.
        segments: number of segments, of the network that has more.
        equal_segments: those with the same category and the same pixels in both.
        score_difference: the largest, between corresponding segments.
    """

    batch: int
    height: int
    width: int
    pixels: int
    equal_pixels: int
    segments: int
    equal_segments: int
    score_difference: float

    @property
    def share(self) -> float:
        """The share of equal pixels."""
        return self.equal_pixels / self.pixels


@dataclass(frozen=True)
class Check:
    """What a comparison of a network with its export found; a part of export.json.

    Args:
        agreements: one for each size.
        seconds: of one image, its post-processing excluded.
        reference_seconds: of the same image in the original network, in alternation.
    """

    agreements: tuple[Agreement, ...]
    seconds: float
    reference_seconds: float

    @property
    def agrees(self) -> bool:
        """Whether every size has enough equal pixels."""
        return all(agreement.share >= MIN_SHARE for agreement in self.agreements)

    def as_dict(self) -> dict[str, Any]:
        """The content for export.json."""
        return {"agrees": self.agrees, **asdict(self)}

    def table(self) -> str:
        """A line for each size."""
        lines = ["batch  size         equal pixels      equal segments  score difference"]
        for row in self.agreements:
            size = f"{row.width}x{row.height}"
            segments = f"{row.equal_segments} of {row.segments}"
            share = f"{100 * row.share:.4f} %"
            cells = f"{row.batch:<5}  {size:<11}  {share:<16}  {segments:<14}"
            lines.append(f"{cells}  {row.score_difference:.1e}")
        speed = self.reference_seconds / self.seconds
        lines.append(f"{speed:.2f} times as fast as the original network, batch 1")
        return "\n".join(lines)


def check(
    reference: Network, exported: Network, postprocess: Postprocess, images: Sequence[RGB]
) -> Check:
    """Compare an exported network with its original on crops of real images.

    Args:
        reference: the original.
        exported: from it.
        postprocess: of both.
        images: (H, W, 3) uint8 RGB, used in turn.
    """
    agreements = []
    for batch, share in BATCHES:
        crops = odd_crops(images, batch, share)
        agreements.append(compare(reference, exported, postprocess, crops))
    seconds, reference_seconds = _time(exported, reference, images[0])
    return Check(tuple(agreements), seconds, reference_seconds)


def odd_crops(images: Sequence[RGB], batch: int, share: float) -> list[RGB]:
    """Crops of one size, whose sides are odd, from the top left of images in turn.

    Args:
        images: (H, W, 3), used again if there are fewer than `batch`.
        batch: number of crops.
        share: of the sides of the smallest image.
    """
    chosen = [images[index % len(images)] for index in range(batch)]
    height = _odd(share * min(image.shape[0] for image in chosen))
    width = _odd(share * min(image.shape[1] for image in chosen))
    return [image[:height, :width] for image in chosen]


def _odd(length: float) -> int:
    """The largest odd whole number up to a length."""
    return max(1, (int(length) - 1) // 2 * 2 + 1)


def compare(
    reference: Network, exported: Network, postprocess: Postprocess, images: Sequence[RGB]
) -> Agreement:
    """Compare the predictions of two networks for a batch of images (H, W, 3) of one size."""
    height, width = images[0].shape[:2]
    sizes = [(height, width)] * len(images)
    batch = stack(list(images))
    expected = postprocess(reference(batch), sizes)
    predictions = postprocess(exported(batch), sizes)
    pairs = zip(expected, predictions, strict=True)
    counts = np.array([_compare_predictions(first, second) for first, second in pairs])
    equal_pixels, segments, equal_segments = counts[:, :3].sum(axis=0).astype(int).tolist()
    return Agreement(
        len(images),
        height,
        width,
        len(images) * height * width,
        equal_pixels,
        segments,
        equal_segments,
        float(counts[:, 3].max()),
    )


def _compare_predictions(first: Prediction, second: Prediction) -> tuple[int, int, int, float]:
    """Equal pixels, segments, equal segments, and the largest difference of scores.

    Segments correspond if each shares more pixels with the other than with any other segment, and
    their categories are equal: ids follow the order of scores, which ties may change.
    """
    first_ids = first.panoptic.ids
    second_ids = second.panoptic.ids
    num_second = int(second_ids.max()) + 1
    joint = first_ids.astype(np.int64) * num_second + second_ids
    pairs, areas = np.unique(joint, return_counts=True)
    overlap = np.zeros((int(first_ids.max()) + 1, num_second), np.int64)  # (N, M), 0 is void
    overlap.ravel()[pairs] = areas
    first_segments = {segment.id: segment for segment in first.panoptic.segments}
    second_segments = {segment.id: segment for segment in second.panoptic.segments}
    counterpart = np.zeros(len(overlap), np.int64)  # (N,), by id; void corresponds to void
    equal_segments = 0
    score_difference = 0.0
    for segment_id, segment in first_segments.items():
        other_id = int(overlap[segment_id].argmax())
        other = second_segments.get(other_id)
        is_mutual = overlap[:, other_id].argmax() == segment_id
        if other is None or other.category_id != segment.category_id or not is_mutual:
            counterpart[segment_id] = -1
            continue
        counterpart[segment_id] = other_id
        shared = overlap[segment_id, other_id]
        equal_segments += int(shared == overlap[segment_id].sum() == overlap[:, other_id].sum())
        difference = abs((segment.score or 0.0) - (other.score or 0.0))
        score_difference = max(score_difference, difference)
    is_equal = (counterpart[first_ids] == second_ids) & (first.semantic == second.semantic)
    num_segments = max(len(first_segments), len(second_segments))
    return int(is_equal.sum()), num_segments, equal_segments, score_difference


def _time(exported: Network, reference: Network, image: RGB) -> tuple[float, float]:
    """Median seconds of both networks for an image, measured in alternation."""
    batch = stack([image])
    seconds: dict[Network, list[float]] = {exported: [], reference: []}
    for _ in range(NUM_TIMED):
        for network, taken in seconds.items():
            start = perf_counter()
            network(batch)
            taken.append(perf_counter() - start)
    return float(np.median(seconds[exported])), float(np.median(seconds[reference]))
