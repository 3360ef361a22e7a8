"""A seed -> street scenes like those of the embedded data set."""

import logging

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.sources.scenes import SceneSet
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)


@stage
def main(cfg: DictConfig) -> None:
    """Draw scenes."""
    scenes = build(cfg.draw, SceneSet)
    index = scenes.write()
    num_scenes = scenes.num_train + scenes.num_val + scenes.num_test
    log.info("%d scenes drawn with seed %d -> %s", num_scenes, scenes.seed, index)


if __name__ == "__main__":
    main()
