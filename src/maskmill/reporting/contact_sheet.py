"""The data as the network will see it: a page of augmented images with their labels, and what the data set holds."""

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import write_text
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import RGB, encode_png
from maskmill.reporting.data_faults import faults
from maskmill.reporting.drawing import overlay
from maskmill.reporting.page import page
from maskmill.reporting.pictures import data_uri

SIDE = 320  # px of a view's longer side: a page of a hundred stays below 20 MB
View = tuple[str, RGB, Panoptic]


def write_contact_sheet(
    path: Path, dataset: Mapping[str, Any], views: Iterable[View], *, split: str, settings: str
) -> Path:
    """Write the page.

    Args:
        path: the HTML file.
        dataset: what dataset.json holds.
        views: caption, image (H, W, 3) uint8 and labels of the same size.
        split: what they are of.
        settings: the augmentation, for people.

    Returns:
        `path`.
    """
    categories = Categories.from_list(dataset["categories"])
    cells = "".join(_cell(view, categories) for view in views)
    legend = "".join(
        f"<span>{_swatch(category.color)}{escape(category.name)}</span>" for category in categories
    )
    sections = [
        f"<h1>Data as the network sees it</h1><p>{escape(split)}, {escape(settings)}. Void is the bare image, borders are white.</p>",
        f'<p class="legend">{legend}</p><div class="sheet">{cells}</div>',
        *(
            _statistics(name, dataset["splits"][name], row)
            for name, row in dataset["statistics"].items()
        ),
        *faults(dataset),
    ]
    return write_text(path, page("Data preview", sections))


def _cell(view: View, categories: Categories) -> str:
    caption, image, panoptic = view
    drawn = overlay(image, panoptic, categories)
    factor = SIDE / max(drawn.shape[:2])
    size = (max(1, round(drawn.shape[1] * factor)), max(1, round(drawn.shape[0] * factor)))
    shown = cv2.resize(
        drawn, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST
    ).astype(np.uint8, copy=False)
    return f'<figure><img alt="{escape(caption)}" src="{data_uri(encode_png(shown))}"><figcaption>{escape(caption)}</figcaption></figure>'


def _swatch(color: tuple[int, int, int]) -> str:
    return f'<i class="swatch" style="background:rgb{color}"></i>'


def _statistics(split: str, counts: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """Sizes, colours and classes of a split."""
    reach = " x ".join(
        "-".join(str(value) for value in sorted(set(row[key]))) for key in ("height", "width")
    )
    mean, std = (", ".join(f"{value:.1f}" for value in row[key]) for key in ("rgb_mean", "rgb_std"))
    head = "".join(
        f"<th>{name}</th>"
        for name in ("class", "pixels", "images", "segments", "small", "medium", "large", "weight")
    )
    lines = []
    for one in row["classes"]:
        share = one["pixels"] / row["pixels"]
        numbers = "".join(
            f"<td>{one[key]}</td>" for key in ("images", "segments", "small", "medium", "large")
        )
        weight = "-" if one["weight"] is None else f"{one['weight']:.2f}"
        bar = f'<td class="bar" style="--share: {100 * share:.1f}%">{share:.1%}</td>'
        lines.append(f"<tr><td>{escape(one['name'])}</td>{bar}{numbers}<td>{weight}</td></tr>")
    return (
        f"<h2>{escape(split)}: {counts['num_images']} images</h2><p>{reach} pixels; mean of R, G, B {mean}, deviation {std} of 255; "
        f"{row['void_pixels'] / row['pixels']:.1%} void. Segments are small below 32 x 32 pixels, large from 96 x 96; weight: median "
        f'frequency.</p><div class="scroll"><table><tr>{head}</tr>{"".join(lines)}</table></div>'
    )
