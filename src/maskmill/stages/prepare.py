"""Raw data -> canonical data set."""

import logging

from omegaconf import DictConfig

from maskmill.assembly.raw_data import opened_source
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)


@stage
def main(cfg: DictConfig) -> None:
    """Convert the source."""
    with opened_source(cfg) as (converter, source, shown):
        dataset = converter.convert(source, shown=shown)
    counts = ", ".join(f"{split} {row['num_images']}" for split, row in dataset["splits"].items())
    log.info(
        "prepared %s images, %d left out -> %s (the images with their labels: maskmill preview)",
        counts,
        len(dataset["problems"]),
        converter.out,
    )


if __name__ == "__main__":
    main()
