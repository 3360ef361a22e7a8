"""One sample examined: its image and labels are read and compared."""

from dataclasses import dataclass
from pathlib import Path

from maskmill.canonical.panoptic import VOID_ID, Panoptic
from maskmill.sources.finding import Finding, Findings
from maskmill.sources.images import ImageFile, read_image, require_size
from maskmill.sources.source import Sample, Source

MAX_VOID = 0.95  # share of unlabelled pixels above which an image teaches next to nothing


@dataclass(frozen=True)
class Examined:
    """The image and the labels of a sample, None if one of them has an error, and all findings."""

    image: ImageFile | None
    panoptic: Panoptic | None
    findings: Findings


def examine(source: Source, sample: Sample, *, max_pixels: int) -> Examined:
    """Read a sample; problems of its image and of its labels become findings."""
    findings = Findings()
    image = None
    panoptic = None
    try:
        image = read_image(sample.image, findings, max_pixels=max_pixels)
    except (ValueError, OSError) as error:
        findings.append(Finding.from_error(error, sample.image))
    try:
        panoptic = source.read(sample, findings)
    except (ValueError, OSError) as error:
        finding = Finding.from_error(error, sample.labels)
        # Some formats open the image to read the labels, and so repeat the image's error.
        if not _has_error(findings, finding.file):
            findings.append(finding)
    if image is None or panoptic is None:
        return Examined(None, None, findings)
    try:
        require_size(panoptic.size, image.rgb.shape, sample.labels, rotated=image.rotated)
    except ValueError as error:
        findings.append(Finding.from_error(error, sample.labels))
        return Examined(None, None, findings)
    _find_void(source, sample.labels, panoptic, findings)
    return Examined(image, panoptic, findings)


def _has_error(findings: Findings, file: str) -> bool:
    return any(finding.file == file and finding.severity == "error" for finding in findings)


def _find_void(source: Source, labels: Path, panoptic: Panoptic, findings: Findings) -> None:
    void = float((panoptic.ids == VOID_ID).mean())
    if source.categories.background_index is None and void > MAX_VOID:
        findings.warn(
            labels,
            f"expected most pixels to be labelled, but {void:.1%} are void",
            "either label the image or remove it from the split",
        )


def keep_unique(samples: list[Sample], findings: Findings) -> list[Sample]:
    """The samples without those whose name, ignoring case, is used earlier in the same split.

    The canonical files are called by these names. Each repeated name becomes a finding.

    Raises:
        ValueError: two samples of a split have the same image id.
    """
    sample_of_name: dict[tuple[str, str], Sample] = {}
    image_ids: set[tuple[str, int]] = set()
    kept = []
    for sample in samples:
        earlier = sample_of_name.setdefault((sample.split, sample.name.casefold()), sample)
        if earlier is not sample:
            findings.error(
                sample.image,
                "expected each name once in a split (the suffix does not count), but "
                f"{sample.name} of {sample.split} is also the name of {earlier.image}",
                "rename or remove one of them",
            )
            continue
        kept.append(sample)
        if sample.image_id is None:
            continue
        if (sample.split, sample.image_id) in image_ids:
            raise ValueError(
                "Expected each image id once in a split, but found "
                f"{sample.image_id} twice in {sample.split} - renumber one of them"
            )
        image_ids.add((sample.split, sample.image_id))
    return kept
