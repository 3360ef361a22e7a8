"""Raw data -> canonical data set."""

import logging

from omegaconf import DictConfig

from maskmill.sources.convert import Converter
from maskmill.sources.source import Source
from maskmill.stages.build import build
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)


@stage
def main(cfg: DictConfig) -> None:
    """Convert the source."""
    source = build(cfg.source, Source)  # type: ignore[type-abstract]  # asked for as the base of what is built
    converter = build(cfg.prepare, Converter)
    dataset = converter.convert(source)
    counts = ", ".join(f"{split} {row['num_images']}" for split, row in dataset["splits"].items())
    log.info("prepared %s images, %d left out -> %s", counts, len(dataset["problems"]), converter.out)


if __name__ == "__main__":
    main()
