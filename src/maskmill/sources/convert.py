"""A source -> the canonical data set on disk: every image decoded, checked and counted, in parallel, all or nothing."""

import hashlib
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import joblib
from tqdm import tqdm

from maskmill.canonical.files import inside, write_bytes, write_json
from maskmill.canonical.folder import ImageRecord, IndexWriter, png_name
from maskmill.canonical.output_folder import replaced_folder, require_replaceable
from maskmill.canonical.png import ids_to_png
from maskmill.sources.backends import parallel
from maskmill.sources.cache import ConversionCache
from maskmill.sources.collection import Collection, Outcome
from maskmill.sources.examine import examine, unique
from maskmill.sources.finding import Finding, Findings
from maskmill.sources.images import MAX_PIXELS
from maskmill.sources.relabelled import Relabelled
from maskmill.sources.similar import print_of
from maskmill.sources.source import Sample, Source
from maskmill.sources.statistics import count_image

log = logging.getLogger(__name__)

BATCH_PER_WORKER = (
    64  # images handed out at once: bounds what is in flight, and paces the log lines
)
Shown = tuple[
    str, str
]  # a folder, and how findings shall call it: an archive's unpacked folder is gone when they are read


@dataclass(frozen=True)
class Converter:
    """Writes `out`/SPLIT/{images/, panoptic/, panoptic.json} and `out`/dataset.json.

    Args:
        out: replaced as a whole at the end; an earlier one stays until then.
        workers: processes; -1 = as many as there are cores. The result does not depend on it.
        backend: of joblib: loky, threading, multiprocessing, sequential, or dask or ray where they are installed.
        on_problem: `stop` at the first image that cannot be converted, or `exclude` it: warn, list it in dataset.json and go on.
        max_pixels: larger images are problems.
        cache: a folder that keeps what was converted, so that the next run reads only what changed; None keeps nothing.
        classes: other names for classes of the source, merged where equal, or None to make them void; see `relabelled.Relabelled`.

    Raises:
        ValueError: a number is out of range.
    """

    out: Path
    workers: int = -1
    backend: str = "loky"
    on_problem: Literal["stop", "exclude"] = "stop"
    max_pixels: int = MAX_PIXELS
    cache: Path | None = None
    classes: Mapping[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.workers < 1 and self.workers != -1:
            raise ValueError(
                f"Expected `workers` of at least 1, or -1 for all cores, but got {self.workers} - mend conf/prepare"
            )
        if not 1 <= self.max_pixels <= MAX_PIXELS:
            raise ValueError(
                f"Expected `max_pixels` in 1..{MAX_PIXELS}, but got {self.max_pixels} - cut larger images up"
            )

    def check(self, source: Source, *, shown: Shown = ("", "")) -> dict[str, Any]:
        """Look at all images of a source and write nothing.

        Args:
            source: any.
            shown: a folder whose name findings replace by another.

        Returns:
            what dataset.json would hold, with all findings.

        Raises:
            FileNotFoundError: the source lacks a folder or a list.
            ValueError: the source itself is broken.
        """
        name, source = type(source).__name__, self._seen(source)
        samples, collection = self._listed(source, shown)
        for outcome in _progress(
            self._outcomes(source, samples, None, shown), len(samples), "check"
        ):
            collection.add(outcome)
        collection.compare(source.categories)
        return collection.content(name, source.categories)

    def convert(self, source: Source, *, shown: Shown = ("", "")) -> dict[str, Any]:
        """Convert all splits of a source.

        Args:
            source: any.
            shown: a folder whose name findings replace by another.

        Returns:
            what dataset.json holds: source, categories, splits, statistics, problems (images left out), findings, and `digest`, the
            sha256 of the sorted lines `<sha256 of file>  <path>` of all other files, as `sha256sum` prints them.

        Raises:
            FileNotFoundError: the source lacks a folder or a list; or, told to stop, an image or its labels.
            ValueError: the source is broken, an image is and we are told to stop, a split has no image left, or `out` holds other things.
        """
        inputs = _input_folders(source, shown)
        require_replaceable(self.out, written_by="prepare", inputs=inputs)
        name, source = type(source).__name__, self._seen(source)
        samples, collection = self._listed(source, shown)
        self._judge(collection.findings)
        log.info("%d images of %d categories to convert", len(samples), len(source.categories))
        with replaced_folder(self.out, written_by="prepare", inputs=inputs) as folder:
            digest = self._write(source, samples, folder, collection, shown)
            content = collection.content(name, source.categories) | {"digest": digest}
            write_json(folder / "dataset.json", content)
        return content

    def _seen(self, source: Source) -> Source:
        return Relabelled(source, self.classes) if self.classes else source

    def _listed(self, source: Source, shown: Shown) -> tuple[list[Sample], Collection]:
        findings = Findings()
        samples = unique(source.samples(findings), findings)
        collection = Collection(dict.fromkeys(sample.split for sample in samples))
        collection.findings += [_renamed(one, shown) for one in findings]
        return samples, collection

    def _judge(self, findings: list[Finding]) -> None:
        """Stop at an error if told so, and say the rest."""
        for finding in findings:
            if finding.severity == "error" and self.on_problem == "stop":
                raise ValueError(
                    f"{finding} (`maskmill check` lists all faults; or go on without such images: prepare.on_problem=exclude)"
                )
            log.log(logging.INFO if finding.severity == "note" else logging.WARNING, "%s", finding)

    def _write(
        self,
        source: Source,
        samples: list[Sample],
        folder: Path,
        collection: Collection,
        shown: Shown,
    ) -> str:
        writers = {
            split: IndexWriter(folder / split, source.categories) for split in collection.statistics
        }
        lines = []
        places: Counter[str] = Counter()
        outcomes = _progress(
            self._outcomes(source, samples, folder, shown), len(samples), "prepare"
        )
        for sample, outcome in zip(samples, outcomes, strict=True):
            places[sample.split] += 1
            self._judge(outcome.findings)
            collection.add(outcome)
            if outcome.row is None:
                log.warning("left out %s of %s", sample.name, sample.split)
                continue
            record = _record(
                outcome, places[sample.split] if sample.image_id is None else sample.image_id
            )
            writers[sample.split].add(record, _annotation(record, outcome.row))
            paths = (
                f"{outcome.split}/images/{record.file_name}",
                f"{outcome.split}/panoptic/{png_name(record)}",
            )
            lines += [
                (path, digest) for path, digest in zip(paths, outcome.row["sha256"], strict=True)
            ]
        empty = [split for split, writer in writers.items() if not writer.num_images]
        if empty:
            message = next(
                row["message"] for row in collection.excluded if row["split"] == empty[0]
            )
            raise ValueError(
                f"Expected images in every split, but every one of {', '.join(empty)} has a problem, as: {message}"
            )
        for split, writer in writers.items():
            lines.append(
                (f"{split}/panoptic.json", hashlib.sha256(writer.close().read_bytes()).hexdigest())
            )
        before = len(collection.findings)
        collection.compare(source.categories)
        self._judge(collection.findings[before:])
        return digest_of(dict(lines))

    def _outcomes(
        self, source: Source, samples: list[Sample], folder: Path | None, shown: Shown
    ) -> Iterator[Outcome]:
        """What becomes of all samples, in their order; to a `folder` they are written, from the cache if it has them."""
        len(
            source.categories
        )  # worked out here, where some formats read many files for it, and not again in every worker
        remaining = iter(samples)
        workers = joblib.effective_n_jobs(self.workers)
        with (
            parallel(self.backend, self.workers) as pool,
            self._open_cache(source, folder) as cache,
        ):
            while batch := list(islice(remaining, BATCH_PER_WORKER * workers)):
                known = (
                    {place: cache.find(sample) for place, sample in enumerate(batch)}
                    if cache
                    else {}
                )
                new = [sample for place, sample in enumerate(batch) if known.get(place) is None]
                made = iter(
                    pool(
                        joblib.delayed(convert_sample)(source, sample, folder, self.max_pixels)
                        for sample in new
                    )
                )
                for place, sample in enumerate(batch):
                    outcome = known.get(place) or next(made)
                    if cache and known.get(place) is None:
                        cache.keep(sample, outcome)
                    yield replace(
                        outcome,
                        findings=[_renamed(one, shown) for one in outcome.findings],
                        file=outcome.file.replace(*shown),
                    )

    @contextmanager
    def _open_cache(self, source: Source, folder: Path | None) -> Iterator[ConversionCache | None]:
        if self.cache is None or folder is None:
            yield None
            return
        cache = ConversionCache(self.cache, source, folder, max_pixels=self.max_pixels)
        try:
            yield cache
        finally:
            cache.close()


def convert_sample(source: Source, sample: Sample, folder: Path | None, max_pixels: int) -> Outcome:
    """Read, check and count one image and its labels; write them below `folder`/SPLIT if there is one."""
    examined = examine(source, sample, max_pixels=max_pixels)
    image, panoptic = examined.image, examined.panoptic
    if image is None or panoptic is None:
        return Outcome(sample.split, sample.name, str(sample.image), None, examined.findings)
    look = print_of(image.rgb)
    row: dict[str, Any] = {
        "ending": image.ending,
        "segments": [segment.as_dict() for segment in panoptic.segments],
        "counts": count_image(image.rgb, panoptic),
        "print": [f"{look.bits:x}", look.thumbnail.hex()],
        "isgray": image.isgray,
    }
    outcome = Outcome(sample.split, sample.name, str(sample.image), row, examined.findings)
    if folder is not None:
        labels = ids_to_png(panoptic.ids)
        record = _record(outcome, 0)
        write_bytes(inside(folder / sample.split / "images", record.file_name), image.data)
        write_bytes(inside(folder / sample.split / "panoptic", png_name(record)), labels)
        row["sha256"] = [hashlib.sha256(data).hexdigest() for data in (image.data, labels)]
    return outcome


def digest_of(hashes: dict[str, str]) -> str:
    """One sha256 for many files: path -> sha256 of its content, in any order."""
    lines = "".join(f"{hashes[path]}  {path}\n" for path in sorted(hashes))
    return hashlib.sha256(lines.encode()).hexdigest()


def _record(outcome: Outcome, image_id: int) -> ImageRecord:
    assert outcome.row is not None
    counts = outcome.row["counts"]
    return ImageRecord(
        image_id, f"{outcome.name}{outcome.row['ending']}", counts["height"], counts["width"]
    )


def _annotation(record: ImageRecord, row: dict[str, Any]) -> dict[str, Any]:
    return {"image_id": record.id, "file_name": png_name(record), "segments_info": row["segments"]}


def _renamed(finding: Finding, shown: Shown) -> Finding:
    if not shown[0]:
        return finding
    return replace(finding, file=finding.file.replace(*shown), what=finding.what.replace(*shown))


def _progress(outcomes: Iterator[Outcome], total: int, what: str) -> Iterator[Outcome]:
    """Hand outcomes through under a progress bar on a terminal, and with a log line every tenth of the way elsewhere."""
    if sys.stderr.isatty():
        yield from tqdm(outcomes, total=total, unit="image", desc=what)
        return
    for number, outcome in enumerate(outcomes, start=1):
        if total >= 200 and number % (total // 10) == 0:
            log.info("%d of %d images", number, total)
        yield outcome


def _input_folders(source: Source, shown: Shown) -> list[Path]:
    """The raw data as the user names it, which the output must not contain."""
    root = shown[1] or getattr(source, "root", None)
    return [] if root is None else [Path(root)]
