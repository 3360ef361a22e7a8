"""All samples of a source converted by several workers, or taken from the cache."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

import joblib

from maskmill.sources.backends import parallel
from maskmill.sources.cache import ConversionCache
from maskmill.sources.collection import Outcome
from maskmill.sources.conversion import convert_sample
from maskmill.sources.source import Sample, Source

# Images per worker that are distributed at once, which limits how many outcomes wait in memory.
BATCH_PER_WORKER = 64
FEW = 2  # images that this process converts itself: to start workers takes a second


def convert_samples(
    source: Source,
    samples: list[Sample],
    folder: Path | None,
    *,
    workers: int,
    backend: str,
    max_pixels: int | None,
    cache: ConversionCache | None,
) -> Iterator[Outcome]:
    """The outcomes of all samples, in their order.

    Args:
        source: the source of the samples.
        samples: what to convert.
        folder: images and labels are written here; None writes nothing.
        workers: the number of processes; -1 means one per core.
        backend: see `backends.parallel`.
        max_pixels: larger images are errors; see `Converter`.
        cache: gives and receives converted images; None converts all.
    """
    # Some formats read many files for the table; it is cached here, before sources are sent to the
    # workers.
    len(source.categories)
    remaining = iter(samples)
    batch_size = BATCH_PER_WORKER * joblib.effective_n_jobs(workers)
    job = joblib.delayed(convert_sample)
    num_new = 0
    with parallel(backend, workers) as pool:
        while batch := list(islice(remaining, batch_size)):
            cached = [cache.find(sample) if cache else None for sample in batch]
            new = [sample for sample, known in zip(batch, cached, strict=True) if known is None]
            num_new += len(new)
            converted = (convert_sample(source, sample, folder, max_pixels) for sample in new)
            if num_new > FEW:
                converted = iter(pool(job(source, sample, folder, max_pixels) for sample in new))
            for sample, known in zip(batch, cached, strict=True):
                outcome = known or next(converted)
                if cache and known is None:
                    cache.keep(sample, outcome)
                yield outcome


@contextmanager
def open_cache(
    cache: Path | None, source: Source, folder: Path | None, *, max_pixels: int | None, code: str
) -> Iterator[ConversionCache | None]:
    """The cache of a conversion, closed at the end; None if nothing is cached or written.

    Entries that the block has not used are removed, unless it raises.

    Raises:
        OSError: its database is locked, read-only or on a full disk.
    """
    if cache is None or folder is None:
        yield None
        return
    try:
        opened = ConversionCache(cache, source, folder, max_pixels=max_pixels, code=code)
        with closing(opened):
            yield opened
            opened.remove_unused()
    except sqlite3.Error as error:
        raise OSError(
            f"{cache}: expected a cache of conversions that can be written, but got: {error} - "
            "either remove this folder, free space on its disk, or set prepare.cache=null"
        ) from error
