"""Warnings of libraries about things that maskmill does on purpose."""

import logging
import warnings

# Regular expressions at the beginning of a warning; the tests ignore the same ones.
SILENCED_WARNINGS = (
    # A resumed run writes into the folder of its first start.
    r".*Checkpoint directory .* exists and is not empty",
    # Lightning's own code uses a deprecated class of torch.
    r".*treespec, LeafSpec",
    # Small data sets have fewer batches than `trainer.log_every_n_steps`.
    r".*smaller than the logging interval",
    # Our metrics have merged all processes when they are logged.
    r"It is recommended to use `self.log.*sync_dist",
    # `training.averaging` refuses FSDP, the case that this is about.
    r"You're using the WeightAveraging callback with a model that overrides",
    # No loss or post-processing writes into the outputs of a network.
    r".*FSDP2-wrapped module .* returned a view tensor",
    # On a login node of a cluster; a training in one process needs no `srun`.
    r"The `srun` command is available on your system but is not used",
)


def silence_expected_warnings() -> None:
    """Ignore these warnings in this process."""
    for pattern in SILENCED_WARNINGS:
        warnings.filterwarnings("ignore", message=pattern)


def quiet_lightning() -> None:
    """Keep notices about devices and products, and expected warnings, out of the log.

    Lightning's other messages come once: it has a handler of its own beside that of the command.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    if logging.root.hasHandlers():
        logging.getLogger("lightning").handlers.clear()
    silence_expected_warnings()
