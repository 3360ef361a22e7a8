"""Prepared data -> the learning rate where the loss falls fastest, with the picture it is read from."""

import logging

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.canonical.files import write_text
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)


@stage
def main(cfg: DictConfig) -> float:
    """Run the range test, write curve and picture, and say which learning rate to take."""
    from maskmill.assembly.trials import Trial, folder_of
    from maskmill.reporting.learning_rate_page import (  # slow to import, as are those below
        write_learning_rate_page,
    )
    from maskmill.training.lr_range import RangeTest

    test, trial = build(cfg.tune.lr, RangeTest), Trial(cfg)
    task, datamodule = trial.task(), trial.datamodule()
    log.info(
        "%d steps from learning rate %g to %g, without the schedule",
        test.num_steps,
        test.lowest,
        test.highest,
    )
    curve = test.run(task, datamodule, trial.trainer)
    out = folder_of(cfg)
    rows = [
        f"{rate:.6g},{loss:.6g},{smooth:.6g}"
        for rate, loss, smooth in zip(curve.rates, curve.losses, curve.smooth, strict=True)
    ]
    write_text(out / "lr.csv", "\n".join(["lr,loss,smooth_loss", *rows, ""]))
    rate = curve.suggestion()
    settings = f"{cfg.network._target_.rpartition('.')[2]}, {cfg.optimizer._target_.rpartition('.')[2]}, batches of {cfg.data.batch_size}"
    path = write_learning_rate_page(
        out / "lr.html",
        curve.rates,
        curve.losses,
        curve.smooth,
        suggested=rate,
        settings=settings,
    )
    log.info(
        "optimizer.lr=%g: the loss fell fastest there, and was lowest at %.2g -> %s",
        rate,
        curve.rates[curve.best],
        path,
    )
    return rate


if __name__ == "__main__":
    main()
