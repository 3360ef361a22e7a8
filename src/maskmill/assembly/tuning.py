"""Recommendations before a long training: a batch size and a learning rate."""

import logging
from functools import partial

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.trials import Trial, output_folder
from maskmill.canonical.files import write_text
from maskmill.reporting.learning_rate_page import write_learning_rate_page
from maskmill.training.batch_size import MIN_SPEEDUP, BatchSizeSearch, measure_batch_size
from maskmill.training.failures import explained
from maskmill.training.lr_range import RangeTest
from maskmill.training.memory import Memory

log = logging.getLogger(__name__)


def find_batch_size(cfg: DictConfig) -> int:
    """Search, write batch_size.csv, and return the recommended batch size.

    Raises:
        ValueError: not even the smallest batch fits, or the configuration cannot be used.
    """
    search = build(cfg.tune.batch_size, BatchSizeSearch)
    trial = Trial(cfg)
    task = trial.task()
    datamodule = trial.datamodule()
    memory = Memory(trial.device())
    crop = "x".join(map(str, datamodule.crop_size))
    log.info("steps of %s on %s, crops of %s px", type(task.network).__name__, memory.device, crop)
    measured = partial(
        measure_batch_size,
        task=task,
        datamodule=datamodule,
        make_trainer=trial.trainer,
        memory=memory,
        num_steps=search.num_steps,
    )
    with explained():
        found = search.run(measured, memory, num_images=trial.num_images())
    rows = [
        f"{row.batch_size},{row.images_per_second:.2f},{row.memory}" for row in found.measurements
    ]
    table = "\n".join(["batch_size,images_per_second,memory_bytes", *rows, ""])
    path = write_text(output_folder(cfg) / "batch_size.csv", table)
    log.info(
        "data.batch_size=%d: the largest one tried that fits; %s", found.largest, found.stop_reason
    )
    log.info(
        "data.batch_size=%d: none is more than %g %% faster -> %s",
        found.recommended,
        100 * MIN_SPEEDUP,
        path,
    )
    log.info(
        "another batch size needs another learning rate: maskmill find_lr data.batch_size=%d",
        found.recommended,
    )
    return found.recommended


def find_lr(cfg: DictConfig) -> float:
    """Run the range test, write lr.csv and lr.html, and return the recommended learning rate.

    Raises:
        ValueError: the loss does not fall at any learning rate, or the configuration cannot be
            used.
    """
    test = build(cfg.tune.lr, RangeTest)
    trial = Trial(cfg)
    task = trial.task()
    datamodule = trial.datamodule()
    log.info(
        "%d steps from learning rate %g to %g, without the schedule",
        test.num_steps,
        test.lowest,
        test.highest,
    )
    with explained():
        curve = test.run(task, datamodule, trial.trainer)
    out = output_folder(cfg)
    points = zip(curve.rates, curve.losses, curve.smooth, strict=True)
    rows = [f"{rate:.6g},{loss:.6g},{smooth:.6g}" for rate, loss, smooth in points]
    write_text(out / "lr.csv", "\n".join(["lr,loss,smooth_loss", *rows, ""]))
    rate = curve.suggestion()
    path = write_learning_rate_page(
        out / "lr.html",
        curve.rates,
        curve.losses,
        curve.smooth,
        suggested=rate,
        settings=_settings(cfg),
    )
    log.info(
        "optimizer.lr=%g: the loss fell fastest there, and was lowest at %.2g -> %s",
        rate,
        curve.rates[curve.best],
        path,
    )
    return rate


def _settings(cfg: DictConfig) -> str:
    network = cfg.network._target_.rpartition(".")[2]
    optimizer = cfg.optimizer._target_.rpartition(".")[2]
    return f"{network}, {optimizer}, batch size {cfg.data.batch_size}"
