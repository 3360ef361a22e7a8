"""What a registered model must not exceed: floors of classes, latency and size."""

from pathlib import Path

import numpy as np

from maskmill.assembly.settings import RegisterSettings
from maskmill.canonical.categories import Categories
from maskmill.canonical.png import RGB
from maskmill.evaluation.image_counts import ImageCounts
from maskmill.tracking.models import download

MEGABYTE = 1_000_000


def require_known_classes(settings: RegisterSettings, categories: Categories) -> None:
    """Refuse floors of classes that the model does not have.

    Raises:
        ValueError: a floor is of another class.
    """
    names = [category.name for category in categories]
    unknown = sorted(settings.floors.keys() - set(names))
    if unknown:
        raise ValueError(
            f"register.floors: expected classes of the model, but got {unknown} - "
            f"choose among {names}"
        )


def missed_floors(settings: RegisterSettings, counts: ImageCounts) -> list[str]:
    """The classes whose score is below its floor, in words."""
    metric = "IoU" if settings.metric == "mIoU" else "PQ"
    whole = counts.score(np.ones((1, len(counts.images))))[f"{metric}/class"][0]
    scores = dict(zip(counts.categories, whole.tolist(), strict=True))
    missed = []
    for name, floor in settings.floors.items():
        score = scores.get(name, np.nan)
        if np.isnan(score):
            missed.append(f"class {name} does not occur in these images, so its floor is not met")
        elif score < floor:
            missed.append(f"{metric} {score:.4f} of class {name} is below its floor {floor:g}")
    return missed


def missed_limits(settings: RegisterSettings, uri: str, image: RGB) -> list[str]:
    """The limits of a registered model that it exceeds, in words; nothing is measured without any.

    Args:
        settings: with the limits.
        uri: of the registered version.
        image: (H, W, 3) uint8 RGB, which is resized for the measurement.
    """
    missed = []
    if settings.max_size_mb is not None:
        size_mb = folder_bytes(download(uri)) / MEGABYTE
        if size_mb > settings.max_size_mb:
            missed.append(f"{size_mb:.1f} MB are more than {settings.max_size_mb:g} MB")
    if settings.max_latency_ms is not None:
        # seconds to import: not for a registration without this limit
        import torch

        from maskmill.assembly.latency import measure_latency_ms

        height, width = settings.latency_size
        latency_ms = measure_latency_ms(uri, image, (height, width), settings.latency_runs)
        if latency_ms > settings.max_latency_ms:
            missed.append(
                f"{latency_ms:.1f} ms for an image of {height} x {width} px (median of "
                f"{settings.latency_runs}, {torch.get_num_threads()} threads) are more than "
                f"{settings.max_latency_ms:g} ms"
            )
    return missed


def folder_bytes(folder: Path) -> int:
    """The bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
