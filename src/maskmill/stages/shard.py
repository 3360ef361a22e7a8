"""Prepared data -> the same data in few large files, for network file systems and S3, where a million small ones are slow."""

import logging

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.settings import ShardSettings
from maskmill.data.sharding import write_shards
from maskmill.data.stores import open_store
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)


@stage
def main(cfg: DictConfig) -> None:
    """Write the shards."""
    settings = build(cfg.shard, ShardSettings)
    store = open_store(settings.out)
    number = write_shards(
        settings.data, store, shard_bytes=settings.shard_mb * 1_000_000, decoded=settings.decoded
    )
    log.info(
        "%d images; train reads them with data.root=%s -> %s", number, settings.out, store.where("")
    )


if __name__ == "__main__":
    main()
