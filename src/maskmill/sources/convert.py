"""A source -> the canonical data set on disk: every image decoded, checked and counted, in parallel, all or nothing."""

import hashlib
import logging
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import joblib
from tqdm import tqdm

from maskmill.canonical.files import inside, write_bytes, write_json
from maskmill.canonical.folder import ImageRecord, write_index, write_panoptic
from maskmill.sources.backends import parallel
from maskmill.sources.folders import require_own
from maskmill.sources.images import MAX_PIXELS, read_image, require_size
from maskmill.sources.source import Sample, Source
from maskmill.sources.statistics import ImageCounts, count_image, summarize

log = logging.getLogger(__name__)

BATCH_PER_WORKER = 64  # images handed out at once: bounds what is in flight, and paces the log lines


@dataclass(frozen=True)
class Problem:
    """An image that could not be converted, and why."""

    split: str
    name: str
    message: str


@dataclass(frozen=True)
class Converted:
    """An image that was written: its place in the split, its annotation, its counts and the sha256 of its two files."""

    split: str
    record: ImageRecord
    annotation: dict[str, Any]
    counts: ImageCounts
    hashes: dict[str, str]


@dataclass(frozen=True)
class Converter:
    """Writes `out`/SPLIT/{images/, panoptic/, panoptic.json} and `out`/dataset.json.

    Args:
        out: replaced as a whole at the end; an earlier one stays until then.
        workers: processes; -1 = as many as there are cores. The result does not depend on it.
        backend: of joblib: loky, threading, multiprocessing, sequential, or dask or ray where they are installed.
        on_problem: `stop` at the first image that cannot be converted, or `exclude` it: warn, list it in dataset.json and go on.
        max_pixels: larger images are problems.

    Raises:
        ValueError: a number is out of range.
    """

    out: Path
    workers: int = -1
    backend: str = "loky"
    on_problem: Literal["stop", "exclude"] = "stop"
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        if self.workers < 1 and self.workers != -1:
            raise ValueError(f"Expected `workers` of at least 1, or -1 for all cores, but got {self.workers} - mend conf/prepare")
        if not 1 <= self.max_pixels <= MAX_PIXELS:
            raise ValueError(f"Expected `max_pixels` in 1..{MAX_PIXELS}, but got {self.max_pixels} - cut larger images up")

    def convert(self, source: Source) -> dict[str, Any]:
        """Convert all splits of a source.

        Returns:
            what dataset.json holds: source, categories, splits, statistics, problems, and `digest`, the sha256 of the sorted lines
            `<sha256 of file>  <path>` of all other files, as `sha256sum` prints them.

        Raises:
            FileNotFoundError: the source lacks a folder or a list; or, told to stop, an image or its labels.
            ValueError: the source is broken, an image is and we are told to stop, a split has no image left, or `out` holds other things.
        """
        require_own(self.out, "dataset.json", "prepare.out")
        samples = source.samples()
        log.info("%d images of %d categories to convert", len(samples), len(source.categories))
        _require_unique(samples)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=self.out.parent, prefix=f".{self.out.name}."))
        try:
            folder.chmod(0o755)  # mkdtemp makes 0700
            content = self._write(source, samples, folder)
            _replace(self.out, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return content

    def _write(self, source: Source, samples: list[Sample], folder: Path) -> dict[str, Any]:
        converted: dict[str, list[Converted]] = {sample.split: [] for sample in samples}
        problems = []
        for result in _progress(self._results(source, samples, folder), len(samples)):
            if isinstance(result, Converted):
                converted[result.split].append(result)
            elif self.on_problem == "stop":
                raise ValueError(f"{result.message} (or go on without such images: prepare.on_problem=exclude)")
            else:
                problems.append(result)
                log.warning("left out %s of %s: %s", result.name, result.split, result.message)
        empty = [split for split, done in converted.items() if not done]
        if empty:
            raise ValueError(
                f"Expected images in every split, but every one of {', '.join(empty)} has a problem, as: {problems[0].message}"
            )
        hashes: dict[str, str] = {}
        for split, done in converted.items():
            index = write_index(folder / split, source.categories, [one.record for one in done], [one.annotation for one in done])
            hashes[f"{split}/{index.name}"] = hashlib.sha256(index.read_bytes()).hexdigest()
            for one in done:
                hashes |= {f"{split}/{path}": value for path, value in one.hashes.items()}
        content = {
            "source": type(source).__name__,
            "categories": source.categories.as_list(),
            "splits": {split: {"num_images": len(done)} for split, done in converted.items()},
            "statistics": {split: summarize([one.counts for one in done], source.categories) for split, done in converted.items()},
            "problems": [asdict(problem) for problem in problems],
            "digest": digest_of(hashes),
        }
        write_json(folder / "dataset.json", content)
        return content

    def _results(self, source: Source, samples: list[Sample], folder: Path) -> Iterator[Converted | Problem]:
        """Convert all samples, in their order."""
        numbers: Counter[str] = Counter()
        jobs = []
        for sample in samples:
            numbers[sample.split] += 1
            image_id = numbers[sample.split] if sample.image_id is None else sample.image_id
            jobs.append(joblib.delayed(convert_sample)(source, sample, folder / sample.split, image_id, self.max_pixels))
        remaining = iter(jobs)
        workers = joblib.effective_n_jobs(self.workers)
        with parallel(self.backend, self.workers) as pool:
            while batch := list(islice(remaining, BATCH_PER_WORKER * workers)):
                yield from pool(batch)


def convert_sample(source: Source, sample: Sample, folder: Path, image_id: int, max_pixels: int) -> Converted | Problem:
    """Read, check and write one image and its labels below the split's `folder`; a fault of the data comes back as a problem."""
    try:
        image = read_image(sample.image, max_pixels=max_pixels)
        panoptic = source.read(sample)
        require_size(panoptic.size, image.rgb.shape, sample.labels)
    except (ValueError, OSError) as error:
        return Problem(sample.split, sample.name, str(error))
    height, width = panoptic.size
    record = ImageRecord(image_id, f"{sample.name}{image.ending}", height, width)
    path = write_bytes(inside(folder / "images", record.file_name), image.data)
    row = write_panoptic(folder, record, panoptic)
    label_path = folder / "panoptic" / row["file_name"]
    hashes = {
        path.relative_to(folder).as_posix(): hashlib.sha256(image.data).hexdigest(),
        label_path.relative_to(folder).as_posix(): hashlib.sha256(label_path.read_bytes()).hexdigest(),
    }
    return Converted(sample.split, record, row, count_image(image.rgb, panoptic), hashes)


def digest_of(hashes: dict[str, str]) -> str:
    """One sha256 for many files: path -> sha256 of its content, in any order."""
    lines = "".join(f"{hashes[path]}  {path}\n" for path in sorted(hashes))
    return hashlib.sha256(lines.encode()).hexdigest()


def _require_unique(samples: list[Sample]) -> None:
    names = Counter(f"{sample.split}/{sample.name}" for sample in samples)
    image_ids = Counter(f"{sample.split}/{sample.image_id}" for sample in samples if sample.image_id is not None)
    for kind, counts in (("name (its ending does not count)", names), ("id", image_ids)):
        twice = [key for key, count in counts.items() if count > 1]
        if twice:
            raise ValueError(f"Expected each image {kind} once in a split, but found twice: {', '.join(twice[:5])} - rename or remove one")


def _progress(results: Iterator[Converted | Problem], total: int) -> Iterator[Converted | Problem]:
    """Hand results through under a progress bar on a terminal, and with a log line every tenth of the way elsewhere."""
    if sys.stderr.isatty():
        yield from tqdm(results, total=total, unit="image", desc="prepare")
        return
    for number, result in enumerate(results, start=1):
        if total >= 1000 and number % (total // 10) == 0:
            log.info("%d of %d images", number, total)
        yield result


def _replace(out: Path, folder: Path) -> None:
    """Put `folder` in the place of `out`."""
    if not out.exists():
        folder.rename(out)
        return
    old = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.")) / "old"
    out.rename(old)
    folder.rename(out)
    shutil.rmtree(old.parent)
