"""Prepared data -> the same data in few large files, for network file systems and object stores."""

import logging

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.settings import ShardSettings
from maskmill.data.sharding import write_shards
from maskmill.data.stores import open_store
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)

MEGABYTE = 1_000_000


@stage
def main(cfg: DictConfig) -> None:
    """Write the shards."""
    settings = build(cfg.shard, ShardSettings)
    store = open_store(settings.out)
    num_images = write_shards(
        settings.data, store, shard_bytes=settings.shard_mb * MEGABYTE, decoded=settings.decoded
    )
    log.info("%d images, train with data.root=%s -> %s", num_images, settings.out, store.where(""))


if __name__ == "__main__":
    main()
