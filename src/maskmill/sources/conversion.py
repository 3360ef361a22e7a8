"""The conversion of one sample, and the rows and digests of the written files."""

import errno
import hashlib
import sys
from dataclasses import dataclass, field, replace
from operator import add
from pathlib import Path
from typing import Any

from maskmill.canonical.files import inside, write_bytes
from maskmill.canonical.folder import ImageRecord, png_name
from maskmill.canonical.png import ids_to_png
from maskmill.sources.collection import Outcome
from maskmill.sources.examine import examine
from maskmill.sources.similar import fingerprint
from maskmill.sources.source import Sample, Source
from maskmill.sources.statistics import count_image


def convert_sample(
    source: Source, sample: Sample, folder: Path | None, max_pixels: int | None
) -> Outcome:
    """Read, check and count one image and its labels.

    Args:
        source: the source of the sample.
        sample: what to convert.
        folder: the image and its labels are written to `folder`/SPLIT; None writes nothing.
        max_pixels: larger images are errors; see `Converter`.
    """
    examined = examine(source, sample, max_pixels=max_pixels)
    image = examined.image
    panoptic = examined.panoptic
    file = sample.image_file
    if image is None or panoptic is None:
        return Outcome(sample.split, sample.name, file, None, examined.findings)
    look = fingerprint(image.rgb)
    row: dict[str, Any] = {
        "ending": image.ending,
        "segments": [segment.as_dict() for segment in panoptic.segments],
        "counts": count_image(image.rgb, panoptic),
        "print": [f"{look.bits:x}", look.thumbnail.hex()],
        "isgray": image.isgray,
    }
    outcome = Outcome(sample.split, sample.name, file, row, examined.findings)
    if folder is not None:
        record = image_record(outcome, image_id=0)
        labels = ids_to_png(panoptic.ids)
        try:
            write_bytes(inside(folder / sample.split / "images", record.file_name), image.data)
            write_bytes(inside(folder / sample.split / "panoptic", png_name(record)), labels)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            examined.findings.error(
                sample.image,
                "expected a name that fits into the output folder, but its path is too long",
                "shorten the names of the image and its folders, or set prepare.out",
            )
            return replace(outcome, row=None)
        row["sha256"] = [hashlib.sha256(data).hexdigest() for data in (image.data, labels)]
    return outcome


def image_record(outcome: Outcome, image_id: int) -> ImageRecord:
    """The record of a converted image."""
    assert outcome.row is not None
    counts = outcome.row["counts"]
    file_name = f"{outcome.name}{outcome.row['ending']}"
    return ImageRecord(image_id, file_name, counts["height"], counts["width"])


def annotation_row(record: ImageRecord, outcome: Outcome) -> dict[str, Any]:
    """The annotation of a converted image in panoptic.json."""
    assert outcome.row is not None
    segments = outcome.row["segments"]
    return {"image_id": record.id, "file_name": png_name(record), "segments_info": segments}


@dataclass(frozen=True)
class _Hashes:
    """Files of one folder: their names without endings, the endings, and the sha256 of all."""

    names: list[str] = field(default_factory=list)
    endings: list[str] = field(default_factory=list)
    hashes: bytearray = field(default_factory=bytearray)


class FileHashes:
    """Written files and their sha256, in 48 bytes per file."""

    def __init__(self) -> None:
        self._folders: dict[str, _Hashes] = {}

    def add(self, path: str, sha256: str) -> None:
        """Add a file with its hash in hexadecimal digits."""
        self._add(path, "", "", sha256)  # a folder of its own: the sorted lines stay in order

    def add_image(self, sample: Sample, outcome: Outcome) -> None:
        """Add the two files of a converted image."""
        assert outcome.row is not None
        image_hash, labels_hash = outcome.row["sha256"]
        # The sample exists anyway, so that its name takes no more memory.
        self._add(f"{sample.split}/images/", sample.name, outcome.row["ending"], image_hash)
        self._add(f"{sample.split}/panoptic/", sample.name, ".png", labels_hash)

    def _add(self, folder: str, name: str, ending: str, sha256: str) -> None:
        files = self._folders.setdefault(folder, _Hashes())
        files.names.append(name)
        files.endings.append(sys.intern(ending))
        files.hashes.extend(bytes.fromhex(sha256))

    def digest(self) -> str:
        """The sha256 of the sorted lines `<sha256 of file>  <path>`, as `sha256sum` prints them."""
        digest = hashlib.sha256()
        for folder, files in sorted(self._folders.items()):
            paths = list(map(add, files.names, files.endings))
            for index in sorted(range(len(paths)), key=paths.__getitem__):
                file_hash = files.hashes[32 * index : 32 * index + 32].hex()
                digest.update(f"{file_hash}  {folder}{paths[index]}\n".encode())
        return digest.hexdigest()
