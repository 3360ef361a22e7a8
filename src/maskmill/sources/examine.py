"""One sample examined: its image and labels are read and compared."""

import errno
import os
from dataclasses import dataclass, replace
from pathlib import Path

from maskmill.canonical.files import inside
from maskmill.canonical.panoptic import VOID_ID, Panoptic
from maskmill.canonical.schema import MAX_NAME_BYTES
from maskmill.sources.finding import Finding, Findings
from maskmill.sources.folders import find_file, normal_form
from maskmill.sources.images import ImageFile, read_image, require_size
from maskmill.sources.source import Sample, Source

MAX_VOID = 0.95  # share of unlabelled pixels above which an image teaches next to nothing


@dataclass(frozen=True)
class Examined:
    """The image and the labels of a sample, None if one of them has an error, and all findings."""

    image: ImageFile | None
    panoptic: Panoptic | None
    findings: Findings


def examine(source: Source, sample: Sample, *, max_pixels: int | None) -> Examined:
    """Read a sample; problems of its image and of its labels become findings.

    Raises:
        MemoryError: there is no memory for the image or its labels.
        OSError: there are no file handles.
    """
    findings = Findings()
    path = sample.image
    labels = sample.labels
    image = None
    panoptic = None
    try:
        image = read_image(path, findings, max_pixels=max_pixels)
    except (ValueError, OSError, MemoryError) as error:
        _raise_if_not_of_the_file(error, path)
        findings.append(Finding.from_error(error, path))
    try:
        panoptic = source.read(sample, findings)
    except (ValueError, OSError, MemoryError) as error:
        _raise_if_not_of_the_file(error, labels)
        finding = Finding.from_error(error, labels)
        # Some formats open the image to read the labels, and so repeat the image's error.
        if not _has_error(findings, finding.file):
            findings.append(finding)
    if image is None or panoptic is None:
        return Examined(None, None, findings)
    try:
        require_size(panoptic.size, image.rgb.shape, labels, rotated=image.rotated)
    except ValueError as error:
        findings.append(Finding.from_error(error, labels))
        return Examined(None, None, findings)
    _find_void(source, labels, panoptic, findings)
    return Examined(image, panoptic, findings)


def _raise_if_not_of_the_file(error: Exception, path: Path) -> None:
    """Raise again what the machine lacks: it says nothing about the file."""
    if isinstance(error, MemoryError):
        raise MemoryError(f"{path}: {error or 'out of memory'}") from error
    if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM}:
        raise error


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

    The canonical files are called by these names. Each repeated name becomes a finding, and each
    that no file can have. Files are found if their names are in another Unicode form (NFC, NFD).

    Raises:
        ValueError: two samples of a split have the same image id, or a split is called like no
            folder can be.
    """
    sample_of_name: dict[tuple[str, str], Sample] = {}
    image_ids: set[tuple[str, int]] = set()
    kept = []
    for split in sorted({sample.split for sample in samples}):
        _require_folder_name(split)
    for sample in samples:
        if not _is_file_name(sample.name, findings, sample.image):
            continue
        key = sample.split, normal_form(sample.name).casefold()
        earlier = sample_of_name.setdefault(key, sample)
        if earlier is not sample:
            findings.error(
                sample.image,
                "expected each name once in a split (the suffix does not count), but "
                f"{sample.name} of {sample.split} is also the name of {earlier.image}",
                "rename or remove one of them",
            )
            continue
        kept.append(_with_real_paths(sample))
        if sample.image_id is None:
            continue
        if (sample.split, sample.image_id) in image_ids:
            raise ValueError(
                "Expected each image id once in a split, but found "
                f"{sample.image_id} twice in {sample.split} - renumber one of them"
            )
        image_ids.add((sample.split, sample.image_id))
    return kept


def _with_real_paths(sample: Sample) -> Sample:
    """The sample with its files as the file system calls them; itself where they are the same."""
    image_file = str(find_file(sample.image))
    labels_file = str(find_file(sample.labels))
    if (image_file, labels_file) == (sample.image_file, sample.labels_file):
        return sample
    return replace(sample, image_file=image_file, labels_file=labels_file)


def _require_folder_name(split: str) -> None:
    """Check the name of a split, which is that of its folder."""
    if split in {"", ".", ".."} or "/" in split or "\\" in split or "\0" in split:
        raise ValueError(
            f"Expected the names of splits without slashes, but got {split!r} - rename it, for "
            "example to train, val or test"
        )


def _is_file_name(name: str, findings: Findings, image: Path) -> bool:
    """Whether the canonical files can have this name; if not, that becomes a finding."""
    try:
        parts = inside(Path(), f"{name}.png").parts
        num_bytes = max(len(os.fsencode(part)) for part in parts)
    except ValueError:  # also if the name cannot be encoded
        findings.error(
            image,
            f"expected a name below its folder, but got {name!r}",
            "rename the image without '..' and without a slash at its start",
        )
        return False
    if num_bytes > MAX_NAME_BYTES:
        findings.error(
            image,
            f"expected a name of at most {MAX_NAME_BYTES} bytes with its ending, but got "
            f"{num_bytes}",
            "rename the image",
        )
        return False
    return True
