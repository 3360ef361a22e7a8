"""One sample looked at: its image and labels read, held against each other, and counted."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskmill.canonical.panoptic import VOID_ID, Panoptic
from maskmill.sources.finding import Finding, Findings
from maskmill.sources.images import ImageFile, read_image, require_size
from maskmill.sources.source import Sample, Source

MAX_VOID = 0.95  # share of an image without labels, above which it teaches next to nothing


@dataclass(frozen=True)
class Examined:
    """A sample's image and labels, None where they have an error, and all that is wrong with them."""

    image: ImageFile | None
    panoptic: Panoptic | None
    findings: Findings


def examine(source: Source, sample: Sample, *, max_pixels: int) -> Examined:
    """Read a sample; faults of the data come back as findings, those of the image and those of the labels."""
    findings = Findings()
    image, panoptic = None, None
    try:
        image = read_image(sample.image, findings, max_pixels=max_pixels)
    except (ValueError, OSError) as error:
        findings.append(Finding.of(error, sample.image))
    try:
        panoptic = source.read(sample, findings)
    except (ValueError, OSError) as error:
        again = Finding.of(
            error, sample.labels
        )  # labels that are read by help of the image repeat its fault
        findings += (
            [again]
            if all((one.file, one.severity) != (again.file, "error") for one in findings)
            else []
        )
    if image is None or panoptic is None:
        return Examined(None, None, findings)
    try:
        require_size(panoptic.size, image.rgb.shape, sample.labels, turned=image.turned)
    except ValueError as error:
        findings.append(Finding.of(error, sample.labels))
        return Examined(None, None, findings)
    _find_void(source, sample.labels, panoptic, findings)
    return Examined(image, panoptic, findings)


def _find_void(source: Source, labels: Path, panoptic: Panoptic, findings: Findings) -> None:
    void = float((panoptic.ids == VOID_ID).mean())
    if source.categories.background_index is None and void > MAX_VOID:
        findings.warn(
            labels,
            f"expected most pixels labelled, but {void:.1%} are void",
            "label the image or take it off the split",
        )


def unique(samples: list[Sample], findings: Findings) -> list[Sample]:
    """The samples whose name, which the canonical files bear, is theirs alone in the split; capitals do not count.

    Raises:
        ValueError: an image id stands twice in a split.
    """
    first: dict[tuple[str, Any], Sample] = {}
    kept = []
    for sample in samples:
        earlier = first.setdefault((sample.split, sample.name.casefold()), sample)
        if earlier is not sample:
            findings.error(
                sample.image,
                f"expected each name once in a split (its ending does not count), but {sample.name} of {sample.split} is "
                f"{earlier.image} already",
                "rename or remove one",
            )
            continue
        kept.append(sample)
        key = (sample.split, sample.image_id)
        if sample.image_id is not None and first.setdefault(key, sample) is not sample:
            raise ValueError(
                f"Expected each image id once in a split, but found {sample.image_id} twice in {sample.split} - renumber one"
            )
    return kept
