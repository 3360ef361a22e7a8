"""The images to predict: a prepared split, a folder, a pattern, a file, or a list of files."""

import glob
import hashlib
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from maskmill.canonical.files import file_digest, read_text
from maskmill.canonical.folder import ImageRecord, PanopticFolder, require_distinct_png_names
from maskmill.canonical.png import RGB, decode_rgb
from maskmill.sources.finding import Finding, Findings
from maskmill.sources.folders import IMAGE_SUFFIXES, is_hidden, list_images
from maskmill.sources.image_decoding import require_file
from maskmill.sources.images import decode_photo, image_header

OnProblem = Literal["stop", "exclude"]

STDIN = "-"
LIST_SUFFIX = ".txt"
NUM_SHOWN = 3  # unreadable images in a message


@dataclass(frozen=True)
class Images:
    """Images that are read one by one, each once.

    Args:
        records: the images.
        paths: the file of each record.
        findings: warnings and notes on the images, and errors of those that are left out.
        is_prepared: whether `prepare` wrote and checked the files.
    """

    records: tuple[ImageRecord, ...]
    paths: tuple[Path, ...]
    findings: list[Finding] = field(default_factory=list)
    is_prepared: bool = False

    def read(self, index: int, findings: Findings) -> tuple[RGB, str]:
        """The pixels of an image, (H, W, 3) uint8, and the sha256 of its file.

        Args:
            index: of the record.
            findings: receives warnings.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: it is not an image as `prepare` reads them, or not of the record's size.
        """
        record = self.records[index]
        path = self.paths[index]
        require_file(path)
        data = path.read_bytes()
        if self.is_prepared:
            rgb = decode_rgb(np.frombuffer(data, np.uint8), str(path))
        else:
            rgb = decode_photo(data, str(path), findings)
        if rgb.shape[:2] != (record.height, record.width):
            height, width = rgb.shape[:2]
            raise ValueError(
                f"{path}: expected {record.height} x {record.width} pixels (height x width), as "
                f"found before, but got {height} x {width} - "
                "run `maskmill prepare` again, or leave the file unchanged during prediction"
            )
        return rgb, hashlib.sha256(data).hexdigest()

    def digest(self, index: int) -> str | None:
        """The sha256 of an image's file, or None if it cannot be read."""
        try:
            return file_digest(self.paths[index])
        except OSError:
            return None


def find_images(images: str | Path, *, on_problem: OnProblem = "stop") -> Images:
    """The images that a name stands for, sorted by name; those of a list in its order.

    Only headers are read. Files are treated as `prepare` treats them, so that the model sees what
    it was trained with.

    Args:
        images: a prepared split; a folder, with the folders below it; a pattern as
            `photos/**/*.jpg`; a file; a list of files in a text file (.txt), or `-` for a list on
            the standard input, one path per line, relative to the current directory.
        on_problem: `stop` refuses all images if one cannot be read; `exclude` leaves it out.

    Raises:
        FileNotFoundError: there is no such file or folder, or no image in it.
        ValueError: two images would have predictions of the same name, or an image is one that
            `prepare` refuses too.
    """
    folder = Path(images)
    if (folder / "panoptic.json").is_file():
        split = PanopticFolder(folder)
        require_distinct_png_names(split.records)
        paths = tuple(map(split.image_path, split.records))
        return Images(split.records, paths, is_prepared=True)
    findings = Findings()
    names = _named_files(str(images), findings)
    if not names:
        notes = "".join(f"; {finding.what}" for finding in findings)
        raise FileNotFoundError(
            f"{images}: expected a prepared split, a folder of images, an image, a pattern or a "
            f"list of images ({LIST_SUFFIX}), but found no image{notes} - check this path"
        )
    found = _read_headers(names, findings, on_problem, str(images))
    require_distinct_png_names(found.records)
    return found


def _named_files(images: str, findings: Findings) -> dict[str, Path]:
    """Name -> file: what `images` stands for."""
    path = Path(images)
    if images == STDIN:
        return _relative_names(_listed(sys.stdin.read(), STDIN, findings))
    if path.is_dir():
        return {file.relative_to(path).as_posix(): file for file in list_images(path, findings)}
    if path.is_file() and path.suffix.lower() == LIST_SUFFIX:
        text = read_text(path, expected="a list of images")
        return _relative_names(_listed(text, images, findings))
    if path.is_file():
        return {path.name: path}
    if glob.has_magic(images):
        return _relative_names(_matching(images, findings))
    return {}


def _listed(text: str, where: str, findings: Findings) -> list[Path]:
    """The files of a list, each once."""
    paths = list(map(Path, filter(None, map(str.strip, text.splitlines()))))
    unique = list(dict.fromkeys(map(_absolute, paths)))
    num_repeated = len(paths) - len(unique)
    if num_repeated:
        findings.note(
            where,
            f"expected each image once, but found {num_repeated} lines that repeat one",
            "if that is intended, nothing: each is predicted once",
        )
    return unique


def _matching(pattern: str, findings: Findings) -> list[Path]:
    """The images that a pattern matches."""
    images = []
    num_others = 0
    for name in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207 - also absolute ones
        path = Path(name)
        if not path.is_file() or is_hidden(path.name):
            continue
        if path.suffix.lower() in IMAGE_SUFFIXES:
            images.append(_absolute(path))
        else:
            num_others += 1
    if num_others:
        findings.note(
            pattern,
            f"expected images only, but found {num_others} other files",
            "if that is intended, nothing: they are left out",
        )
    return images


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - `resolve` would follow links


def _relative_names(paths: Sequence[Path]) -> dict[str, Path]:
    """Name -> file, relative to the deepest folder that contains all of them."""
    if not paths:
        return {}
    parents = [str(path.parent) for path in paths]
    root = os.path.commonpath(parents)
    return {path.relative_to(root).as_posix(): path for path in paths}


def _read_headers(
    names: dict[str, Path], findings: Findings, on_problem: OnProblem, images: str
) -> Images:
    records: list[ImageRecord] = []
    paths = []
    errors = []
    for name, path in names.items():
        try:
            height, width = image_header(path)
        except (ValueError, OSError) as error:
            errors.append(Finding.from_error(error, path))
            continue
        records.append(ImageRecord(len(records) + 1, name, height, width))
        paths.append(path)
    if errors and (on_problem == "stop" or not records):
        raise ValueError(
            f"{images}: expected images as `prepare` reads them, but {len(errors)} of {len(names)} "
            "are not - either correct these, move them away or set predict.on_problem=exclude:\n  "
            f"{_shown(errors)}"
        )
    return Images(tuple(records), tuple(paths), errors + findings)


def _shown(errors: Iterable[Finding]) -> str:
    lines = list(map(str, errors))
    more = ["..."] if len(lines) > NUM_SHOWN else []
    return "\n  ".join(lines[:NUM_SHOWN] + more)
