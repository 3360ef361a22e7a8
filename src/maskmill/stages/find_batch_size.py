"""Prepared data -> the batch sizes that fit, and how fast each is."""

import logging
from functools import partial

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.canonical.files import write_text
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)


@stage
def main(cfg: DictConfig) -> int:
    """Search, write the table, and say which batch size to take."""
    from maskmill.assembly.trials import Trial, folder_of  # slow to import, as are those below
    from maskmill.training.batch_size import PAYS, BatchSizeSearch, measure
    from maskmill.training.memory import Memory

    search, trial = build(cfg.tune.batch_size, BatchSizeSearch), Trial(cfg)
    task, datamodule, memory = trial.task(), trial.datamodule(), Memory(trial.device())
    num_images = trial.num_images()
    log.info(
        "steps of %s on %s, crops of %s px",
        type(task.network).__name__,
        memory.device,
        "x".join(map(str, datamodule.crop_size)),
    )
    measured = partial(
        measure,
        task=task,
        datamodule=datamodule,
        trainer_of=trial.trainer,
        memory=memory,
        num_steps=search.num_steps,
    )
    found = search.run(measured, memory, num_images=num_images)
    rows = [f"{one.batch_size},{one.images_per_second:.2f},{one.memory}" for one in found.measured]
    path = write_text(
        folder_of(cfg) / "batch_size.csv",
        "\n".join(["batch_size,images_per_second,memory_bytes", *rows, ""]),
    )
    log.info(
        "data.batch_size=%d: the largest that was tried and fits; %s", found.largest, found.ended
    )
    log.info(
        "data.batch_size=%d: none is more than %g %% faster -> %s", found.enough, 100 * PAYS, path
    )
    log.info(
        "another batch size wants another learning rate: maskmill find_lr data.batch_size=%d",
        found.enough,
    )
    return found.enough


if __name__ == "__main__":
    main()
