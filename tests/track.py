"""A training as the tracking store sees it: `python -m track NUMBER` logs inputs and 60 steps."""

import sys

import numpy as np

from maskmill.tracking.address import check_store, tracking_uri
from maskmill.tracking.run_logger import RunLogger
from maskmill.tracking.runs import Tracking, log_inputs

NUM_STEPS = 60
DATASET = {"source": "Scenes", "digest": "0123", "problems": [], "findings": []}


def track(number):
    """Open a run, log to it in several requests with an artifact, and end it."""
    check_store(tracking_uri())
    tracking = Tracking("together", f"number {number}", system_metrics=False)
    with tracking.run(None, {"maskmill.training": number}) as run_id:
        log_inputs({"optimizer.lr": "0.1"}, DATASET, {"seed": int(number)})
        logger = RunLogger(run_id)
        for step in range(NUM_STEPS):
            logger.log_metrics({"loss": step + int(number)}, step)
            if step % 20 == 0:
                logger.flush()
        logger.log_image(np.full((8, 8, 3), int(number), np.uint8), "last", NUM_STEPS)
        logger.set_tags({"number": number})
        logger.finalize("success")


if __name__ == "__main__":
    track(sys.argv[1])
