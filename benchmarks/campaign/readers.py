"""What the campaign reads: for each format, a small valid data set and the call that reads it."""

import copy
import hashlib
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
sys.path[:0] = [str(REPOSITORY / "tests")]

from drawn_datasets import DATASETS  # noqa: E402 - needs the path above
from shipped_sources import shipped  # noqa: E402

from maskmill.sources.examine import examine, keep_unique  # noqa: E402
from maskmill.sources.finding import Findings  # noqa: E402
from maskmill.sources.images import MAX_PIXELS  # noqa: E402
from maskmill.sources.source import Sample, Source  # noqa: E402

MAX_SAMPLES = 2  # read for each input, beside those whose own file was changed


@dataclass(frozen=True)
class Outcome:
    """What an input led to: a word for the table, and a digest of all that was read."""

    kind: str
    digest: bytes


@dataclass(frozen=True)
class Reader:
    """A format under test.

    Args:
        draw: writes the valid data set to an empty folder.
        files: those of its files that are changed, relative to the folder.
        read: reads the data set after a file was changed; ValueError and OSError are documented.
    """

    draw: Callable[[Path], None]
    files: Callable[[Path], list[Path]]
    read: Callable[[Path, Path], Outcome]


def source_reader(name: str) -> Reader:
    """A source as `check` and `prepare` read it: listed, then sample by sample."""
    sources: dict[Path, Source] = {}

    def read(root: Path, changed: Path) -> Outcome:
        if root not in sources:
            sources[root] = shipped(name, root)
        source = copy.deepcopy(sources[root])  # a source keeps what it has read
        findings = Findings()
        samples = keep_unique(source.samples(findings), findings)
        digest = hashlib.sha256()
        for sample in _affected(source, samples, changed):
            examined = examine(source, sample, max_pixels=MAX_PIXELS)
            findings += examined.findings
            if examined.panoptic is not None:
                digest.update(examined.panoptic.ids.tobytes())
                digest.update(str(examined.panoptic.category_of).encode())
        for finding in findings:
            text = str(finding).replace(str(root), "ROOT")
            digest.update(text.encode("utf-8", "backslashreplace"))
        is_clean = all(finding.severity == "note" for finding in findings)
        return Outcome("read" if is_clean else "finding", digest.digest())

    return Reader(DATASETS[name], _all_files, read)


def _affected(source: Source, samples: list[Sample], changed: Path) -> Iterable[Sample]:
    own = [sample for sample in samples if _belongs(changed, source.files(sample))]
    return own[:MAX_SAMPLES] or samples[:MAX_SAMPLES]


def _belongs(changed: Path, files: Iterable[Path]) -> bool:
    return any(changed == file or file in changed.parents for file in files)


def _all_files(root: Path) -> list[Path]:
    """Files of the first samples and the lists, by kind: one image for ten label files."""
    files = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    labels = [path for path in files if path.suffix not in {".jpg"}]
    return labels * 10 + [path for path in files if path.suffix == ".jpg"]


READERS: dict[str, Reader] = {name: source_reader(name) for name in DATASETS}
