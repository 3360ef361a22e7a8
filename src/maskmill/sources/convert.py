"""A source to the canonical data set on disk, written completely or not at all."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge

from maskmill.canonical.files import file_digest, write_json
from maskmill.canonical.folder import IndexWriter
from maskmill.canonical.output_folder import replaced_folder, require_replaceable
from maskmill.sources.collection import Collection, Outcome
from maskmill.sources.conversion import FileHashes, annotation_row, image_record
from maskmill.sources.examine import keep_unique
from maskmill.sources.finding import NUM_EXAMPLES, Finding, Findings
from maskmill.sources.folds import Fold
from maskmill.sources.parallel_conversion import convert_samples, open_cache
from maskmill.sources.progress import show_progress
from maskmill.sources.relabelled import Relabelled
from maskmill.sources.source import Sample, Source

log = logging.getLogger(__name__)

# A folder, and its name in findings: an unpacked archive is removed before the findings are read.
Shown = tuple[str, str]


@dataclass(frozen=True)
class Converter:
    """Writes `out`/SPLIT/{images/, panoptic/, panoptic.json} and `out`/dataset.json.

    Args:
        out: replaced as a whole at the end; an earlier folder stays until then.
        workers: the number of processes; -1 means one per core. The result does not depend on it.
        backend: joblib's loky, threading, multiprocessing or sequential, or dask or ray if they are
            installed.
        on_problem: `stop` at the first image that cannot be converted, or `exclude` it: warn, list
            it in dataset.json and continue.
        max_pixels: larger images are problems; None: only those above MASKMILL_MAX_PIXELS are.
        cache: a folder that keeps converted images, so that the next run reads only what changed;
            None keeps nothing.
        classes: new names for classes of the source, merged if equal, or None to make a class void;
            see `relabelled.Relabelled`.
        fold: images of train and val are assigned again: this fold of `num_folds` becomes val, the
            others train; see `folds.Fold`. None keeps the splits of the source.
        num_folds: the number of folds.
        fold_seed: another seed gives other folds.
        code_digest: a digest of the code that converts: other code does not use the cached images.

    Raises:
        ValueError: `workers` is neither positive nor -1, or there is no such fold.
    """

    out: Path
    workers: int = -1
    backend: str = "loky"
    on_problem: Literal["stop", "exclude"] = "stop"
    max_pixels: Annotated[int, Ge(1)] | None = None
    cache: Path | None = None
    classes: Mapping[str, str | None] = field(default_factory=dict)
    fold: int | None = None
    num_folds: int = 5
    fold_seed: int = 0
    code_digest: str = ""

    def __post_init__(self) -> None:
        if self.workers < 1 and self.workers != -1:
            raise ValueError(
                f"Expected `workers` of at least 1, or -1 for all cores, but got {self.workers} - "
                "check conf/prepare"
            )
        _ = self._fold

    @property
    def _fold(self) -> Fold | None:
        return None if self.fold is None else Fold(self.fold, self.num_folds, self.fold_seed)

    def check(self, source: Source, *, shown: Shown = ("", "")) -> dict[str, Any]:
        """Examine all images of a source and write nothing.

        Args:
            source: any source.
            shown: a folder, and the name that replaces it in findings.

        Returns:
            what dataset.json would contain, with all findings.

        Raises:
            FileNotFoundError: the source lacks a folder or a list.
            ValueError: the source itself is invalid.
        """
        name = type(source).__name__
        source = self._relabelled(source)
        samples, collection = _list_samples(source, self._fold, shown)
        outcomes = self._outcomes(source, samples, None, shown)
        for outcome in show_progress(outcomes, len(samples), "check"):
            collection.add(outcome)
        collection.compare(source.categories)
        return self._content(collection, name, source)

    def convert(self, source: Source, *, shown: Shown = ("", "")) -> dict[str, Any]:
        """Convert all splits of a source.

        Args:
            source: any source.
            shown: a folder, and the name that replaces it in findings.

        Returns:
            what dataset.json contains: source, categories, splits, statistics, problems (excluded
            images), findings, `fold` if there is one, and `digest` of all other files; see
            `conversion.FileHashes`.

        Raises:
            FileNotFoundError: the source lacks a folder or a list.
            ValueError: the source is invalid, or an image is and `on_problem` is `stop`, a split
                has no image left, or `out` is a folder that we did not write.
        """
        inputs = _input_folders(source, shown)
        require_replaceable(self.out, written_by="prepare", inputs=inputs)
        name = type(source).__name__
        source = self._relabelled(source)
        samples, collection = _list_samples(source, self._fold, shown)
        kinds: Counter[tuple[str, ...]] = Counter()
        self._report(collection.findings, kinds)
        if not samples:
            raise ValueError(str(collection.findings[-1]))
        log.info("%d images of %d categories to convert", len(samples), len(source.categories))
        with replaced_folder(self.out, written_by="prepare", inputs=inputs) as folder:
            digest = self._write(source, samples, folder, collection, shown, kinds)
            content = self._content(collection, name, source) | {"digest": digest}
            write_json(folder / "dataset.json", content)
        return content

    def _relabelled(self, source: Source) -> Source:
        return Relabelled(source, self.classes) if self.classes else source

    def _content(self, collection: Collection, name: str, source: Source) -> dict[str, Any]:
        content = collection.content(name, source.categories)
        return content if self._fold is None else content | {"fold": self._fold.as_dict()}

    def _report(self, findings: list[Finding], kinds: Counter[tuple[str, ...]]) -> None:
        """Log findings, the first few of a kind; `kinds` counts them.

        Raises:
            ValueError: there is an error, and `on_problem` is `stop`.
        """
        for finding in findings:
            if finding.severity == "error" and self.on_problem == "stop":
                raise ValueError(
                    f"{finding} (`maskmill check` lists all problems; to continue without such "
                    "images: prepare.on_problem=exclude)"
                )
            level = logging.INFO if finding.severity == "note" else logging.WARNING
            kinds[finding.kind] += 1
            if kinds[finding.kind] <= NUM_EXAMPLES:
                log.log(level, "%s", finding)
            elif kinds[finding.kind] == NUM_EXAMPLES + 1:
                log.log(level, "dataset.json lists further findings of this kind: %s", finding)

    def _write(
        self,
        source: Source,
        samples: list[Sample],
        folder: Path,
        collection: Collection,
        shown: Shown,
        kinds: Counter[tuple[str, ...]],
    ) -> str:
        """Write all splits to `folder`; returns the digest of the files."""
        writers = {}
        for split in collection.statistics:
            writers[split] = IndexWriter(folder / split, source.categories)
        hashes = FileHashes()
        num_samples: Counter[str] = Counter()
        outcomes = self._outcomes(source, samples, folder, shown)
        progress = show_progress(outcomes, len(samples), "prepare")
        for sample, outcome in zip(samples, progress, strict=True):
            num_samples[sample.split] += 1
            self._report(outcome.findings, kinds)
            collection.add(outcome)
            if outcome.row is None:
                log.warning("excluded %s of %s", sample.name, sample.split)
                continue
            image_id = sample.image_id
            if image_id is None:
                image_id = num_samples[sample.split]
            record = image_record(outcome, image_id)
            writers[sample.split].add(record, annotation_row(record, outcome))
            hashes.add_image(sample, outcome)
        collection.require_images()
        for split, writer in writers.items():
            hashes.add(f"{split}/panoptic.json", file_digest(writer.close()))
        num_reported = len(collection.findings)
        collection.compare(source.categories)
        self._report(collection.findings[num_reported:], kinds)
        return hashes.digest()

    def _outcomes(
        self, source: Source, samples: list[Sample], folder: Path | None, shown: Shown
    ) -> Iterator[Outcome]:
        """The outcomes of all samples, in their order.

        Images and labels are written to `folder`, if it is given, or linked from the cache.
        """
        settings = {"max_pixels": self.max_pixels}
        with open_cache(self.cache, source, folder, code=self.code_digest, **settings) as cache:
            outcomes = convert_samples(
                source,
                samples,
                folder,
                workers=self.workers,
                backend=self.backend,
                cache=cache,
                **settings,
            )
            for outcome in outcomes:
                findings = [finding.renamed(*shown) for finding in outcome.findings]
                yield replace(outcome, findings=findings, file=outcome.file.replace(*shown))


def _list_samples(
    source: Source, fold: Fold | None, shown: Shown
) -> tuple[list[Sample], Collection]:
    """The samples, and a collection with the findings of their lists.

    If invalid rows are the reason why the samples cannot be listed or assigned to folds, there are
    none, and that is the last finding.
    """
    findings = Findings()
    samples: list[Sample] = []
    try:
        listed = keep_unique(source.samples(findings), findings)
        # A copy reads the classes: the key of the cache covers what a source has remembered.
        samples = listed if fold is None else fold.assign(listed, deepcopy(source).classes_of)
    except (ValueError, OSError) as error:
        if not findings:
            raise
        findings.append(Finding.from_error(error, Path(getattr(source, "root", "."))))

    def file_of(position: int) -> str:
        return samples[position].image_file.replace(*shown)

    collection = Collection(dict.fromkeys(sample.split for sample in samples), file_of)
    collection.findings += [finding.renamed(*shown) for finding in findings]
    return samples, collection


def _input_folders(source: Source, shown: Shown) -> list[Path]:
    """The raw data as the user names it, which the output must not contain."""
    root = shown[1] or getattr(source, "root", None)
    return [] if root is None else [Path(root)]
