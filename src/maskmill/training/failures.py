"""Errors of PyTorch and Lightning that a setting causes, with a message that names the setting."""

from collections.abc import Iterator
from contextlib import contextmanager

from lightning.fabric.utilities.exceptions import MisconfigurationException

from maskmill.training.launching import INTERRUPTED

# A part of the message -> what it means and what to do.
EXPLANATIONS = {
    "more than 1 value per channel": (
        "Expected at least two images per process in each training step, because batch norm needs "
        "more than one value per channel and this network pools each image to one, but got a batch "
        "of one - either set data.batch_size to 2 or more (in find_batch_size: "
        "tune.batch_size.smallest), add training images if the split has only one per process, or "
        "choose a network without global pooling"
    ),
    "`val_check_interval`": (
        "trainer.val_check_interval: expected at most the number of batches of an epoch - either "
        "lower it or set trainer.check_val_every_n_epoch=null to count across epochs"
    ),
    "Invalid learning rate": (
        "optimizer.lr: expected a number of at least 0, but got a negative one - set another value"
    ),
    "DataLoader worker": (
        "Expected the loader processes to live as long as the training, but one ended: the kernel "
        "ends them if memory or shared memory (/dev/shm) runs out - either lower data.num_workers "
        "or data.batch_size, or give the container more (docker run --shm-size=2g)"
    ),
}


@contextmanager
def explained() -> Iterator[None]:
    """Replace the messages of known errors by ones that name the setting and the fix.

    Raises:
        ValueError: such an error, or any that Lightning blames on the settings.
        KeyboardInterrupt: Ctrl+C, after which Lightning would end the process.
    """
    try:
        yield
    except SystemExit as end:
        if not isinstance(end.__context__, KeyboardInterrupt):
            raise
        raise KeyboardInterrupt(INTERRUPTED) from end
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        text = " ".join(str(error).split())
        for part, explanation in EXPLANATIONS.items():
            if part in text:
                raise ValueError(f"{explanation} (the original message: {text})") from error
        if isinstance(error, MisconfigurationException):
            raise ValueError(f"Lightning cannot use these settings: {text}") from error
        raise
