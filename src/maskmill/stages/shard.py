"""Prepared data -> the same data in few large files, for network file systems and S3, where a million small ones are slow."""

import logging
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from maskmill.data.sharding import write_shards
from maskmill.data.stores import open_store
from maskmill.stages.build import build
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What is copied, and where to.

    Args:
        data: what `prepare` wrote.
        out: an empty folder, or s3://BUCKET/PREFIX.
        shard_mb: a shard ends with the first sample that makes it as long as this.
        decoded: arrays in place of PNG and JPEG: nothing to decode, for several times the space.
    """

    data: Path
    out: str
    shard_mb: int
    decoded: bool

    def __post_init__(self) -> None:
        if self.shard_mb < 1:
            raise ValueError(
                f"Expected `shard.shard_mb` of at least 1, but got {self.shard_mb} - mend the number"
            )
        if not (self.data / "dataset.json").is_file():
            raise FileNotFoundError(
                f"{self.data}: expected a prepared data set, but there is none - run `maskmill prepare` first"
            )


@stage
def main(cfg: DictConfig) -> None:
    """Write the shards."""
    settings = build(cfg.shard, Settings)
    store = open_store(settings.out)
    number = write_shards(
        settings.data, store, shard_bytes=settings.shard_mb * 1_000_000, decoded=settings.decoded
    )
    log.info(
        "%d images; train reads them with data.root=%s -> %s", number, settings.out, store.where("")
    )


if __name__ == "__main__":
    main()
