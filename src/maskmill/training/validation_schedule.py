"""A validation after the last batch, so that the final weights are scored and may be kept."""

from lightning import Trainer

_NEEDED = ("limit_train_batches", "limit_val_batches", "max_epochs", "max_steps")


def require_checkpoint_settings(trainer: Trainer) -> None:
    """Refuse settings under which Lightning does not train, does not validate or keeps no weights.

    Raises:
        ValueError: naming the setting.
    """
    if trainer.fast_dev_run:  # type: ignore[attr-defined] # set by Lightning's connectors
        raise ValueError(
            "trainer.fast_dev_run: expected a training that keeps its best weights, but Lightning "
            "keeps none in this mode - set trainer.limit_train_batches, trainer.limit_val_batches "
            "and trainer.max_epochs instead"
        )
    for name in _NEEDED:
        if getattr(trainer, name) == 0:
            raise ValueError(
                f"trainer.{name}: expected a training with a validation, which chooses the weights "
                f"of the model, but got {name}=0 - set trainer.{name} to another value"
            )


def validate_at_the_end(trainer: Trainer, batch_idx: int) -> None:
    """Let Lightning validate after this batch if the training ends with it.

    Lightning itself validates at its intervals alone: every second of five epochs leaves the last
    one without a score. Call it after a batch, before Lightning decides.

    Args:
        trainer: of a running training.
        batch_idx: of the batch within its epoch.
    """
    if not is_last_batch(trainer, batch_idx):
        return
    trainer.check_val_every_n_epoch = 1
    if trainer.val_check_batch is None:  # the interval is one of time
        trainer._last_val_time = float("-inf")  # type: ignore[bad-assignment] # no hint there
    else:
        trainer.val_check_batch = batch_idx + 1


def is_last_batch(trainer: Trainer, batch_idx: int) -> bool:
    """Does the training end with this batch of the current epoch, whose step is done?

    By its steps or epochs, or because it is to stop (by time, for example) and has had its minimum.
    """
    if 0 <= trainer.max_steps <= trainer.global_step:
        return True
    is_end_of_epoch = batch_idx + 1 >= trainer.num_training_batches
    num_epochs = trainer.current_epoch + is_end_of_epoch  # that are complete
    if trainer.should_stop:
        has_min_steps = trainer.global_step >= (trainer.min_steps or 0)
        return has_min_steps and num_epochs >= (trainer.min_epochs or 0)
    return is_end_of_epoch and 0 <= (trainer.max_epochs or -1) <= num_epochs
