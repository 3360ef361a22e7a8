"""The page of `maskmill preview`: augmented images with their labels, and data set statistics."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import write_text
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import RGB
from maskmill.reporting.data_problems import tabulate_problems
from maskmill.reporting.drawing import overlay
from maskmill.reporting.pages import render_page
from maskmill.reporting.pictures import encode_png_uri, resize_image

SIDE = 320  # px of a sample's longer side: a page of a hundred stays below 20 MB


@dataclass(frozen=True)
class Sample:
    """An image (H, W, 3) uint8 as the network sees it, its labels of the same size, a caption."""

    caption: str
    image: RGB
    panoptic: Panoptic


@dataclass(frozen=True)
class SplitStatistics:
    """The statistics of a split as the page shows them; `classes` are those of dataset.json."""

    name: str
    num_images: int
    num_pixels: int
    size: str
    rgb_mean: str
    rgb_std: str
    void_share: float
    classes: Sequence[Mapping[str, Any]]


def write_preview(
    path: Path,
    dataset: Mapping[str, Any],
    samples: Iterable[Sample],
    *,
    split: str,
    augmentation: str,
) -> Path:
    """Write the page.

    Args:
        path: the HTML file.
        dataset: the content of dataset.json.
        samples: what the page shows.
        split: name of the split they come from.
        augmentation: its description.

    Returns:
        `path`.
    """
    categories = Categories.from_list(dataset["categories"])
    pictures = []
    for sample in samples:
        pictures.append({"caption": sample.caption, "uri": _draw(sample, categories)})
    statistics = []
    for name, row in dataset["statistics"].items():
        statistics.append(_statistics(name, dataset["splits"][name], row))
    values = {
        "split": split,
        "augmentation": augmentation,
        "categories": categories,
        "pictures": pictures,
        "statistics": statistics,
        "data": tabulate_problems(dataset),
    }
    return write_text(path, render_page("preview", **values))


def _draw(sample: Sample, categories: Categories) -> str:
    drawn = overlay(sample.image, sample.panoptic, categories)
    height, width = drawn.shape[:2]
    factor = SIDE / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return encode_png_uri(resize_image(drawn, size))


def _statistics(
    name: str, split: Mapping[str, Any], statistics: Mapping[str, Any]
) -> SplitStatistics:
    size = f"{_range(statistics['height'])} x {_range(statistics['width'])}"
    return SplitStatistics(
        name=name,
        num_images=split["num_images"],
        num_pixels=statistics["pixels"],
        size=size,
        rgb_mean=_tenths(statistics["rgb_mean"]),
        rgb_std=_tenths(statistics["rgb_std"]),
        void_share=statistics["void_pixels"] / statistics["pixels"],
        classes=statistics["classes"],
    )


def _range(values: Iterable[int]) -> str:
    """All values in order, such as "240" or "240-480"."""
    return "-".join(str(value) for value in sorted(set(values)))


def _tenths(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in values)
