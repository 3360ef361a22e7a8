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
    if trainer.should_stop:  # by time; Lightning validates then, if the epoch is one of its own
        trainer.check_val_every_n_epoch = 1
        return
    if not is_last_batch(trainer, batch_idx):
        return
    trainer.check_val_every_n_epoch = 1
    if trainer.val_check_batch is None:  # the interval is one of time
        trainer._last_val_time = float("-inf")  # type: ignore[bad-assignment] # no hint there
    else:
        trainer.val_check_batch = batch_idx + 1


def is_last_batch(trainer: Trainer, batch_idx: int) -> bool:
    """Does the training end with this batch of the current epoch, by its epochs or steps?"""
    batches_per_epoch = int(trainer.num_training_batches)
    ends = [float("inf")]
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        ends.append(trainer.max_epochs * batches_per_epoch)
    if trainer.max_steps >= 0:
        accumulated = trainer.accumulate_grad_batches
        steps_per_epoch = -(-batches_per_epoch // accumulated)
        num_epochs, num_left = divmod(trainer.max_steps, steps_per_epoch)
        ends.append(num_epochs * batches_per_epoch + num_left * accumulated)
    return trainer.current_epoch * batches_per_epoch + batch_idx + 1 >= min(ends)
