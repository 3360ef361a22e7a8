"""Raw data -> canonical data set."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from maskmill.sources.archives import unpacked
from maskmill.sources.convert import Converter
from maskmill.sources.source import Source
from maskmill.stages.build import build
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)


@stage
def main(cfg: DictConfig) -> None:
    """Convert the source."""
    converter = build(cfg.prepare, Converter)
    with unpacked(Path(cfg.source.root)) as root:
        cfg.source.root = str(root)
        source = build(cfg.source, Source)  # type: ignore[type-abstract]  # asked for as the base of what is built
        dataset = converter.convert(source)
    counts = ", ".join(f"{split} {row['num_images']}" for split, row in dataset["splits"].items())
    log.info("prepared %s images, %d left out -> %s", counts, len(dataset["problems"]), converter.out)


if __name__ == "__main__":
    main()
