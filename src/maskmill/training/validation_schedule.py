"""Refuses trainings that would end before their first validation and so leave no model."""

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


def require_validation(trainer: Trainer) -> None:
    """Refuse a training that ends before its first validation; call it when the data is known.

    Raises:
        ValueError: naming the settings that decide when validation and training end.
    """
    if trainer.val_check_batch is None:  # by time, which nobody knows before
        return
    num_batches = int(trainer.num_training_batches)
    first, start = _first_validation(trainer, num_batches)
    last, end = _last_batch(trainer, num_batches)
    if first > last:
        raise ValueError(
            f"Expected a validation, which chooses the weights of the model, but the first would "
            f"follow batch {first} ({start}={getattr(trainer, start)}) and training ends after "
            f"batch {last} ({end}={getattr(trainer, end)}; {num_batches} batches an epoch) - "
            f"either lower trainer.{start} or raise trainer.{end}"
        )


def _first_validation(trainer: Trainer, num_batches: int) -> tuple[int, str]:
    """The number of batches before the first validation, and the setting that decides it."""
    interval = trainer.val_check_batch
    assert interval is not None
    if trainer.check_val_every_n_epoch is None:  # the interval counts across epochs
        return int(interval), "val_check_interval"
    skipped = (trainer.check_val_every_n_epoch - 1) * num_batches
    setting = "check_val_every_n_epoch" if skipped else "val_check_interval"
    return skipped + int(min(interval, num_batches)), setting


def _last_batch(trainer: Trainer, num_batches: int) -> tuple[float, str]:
    """The number of batches after which training ends, and the setting that ends it."""
    ends: list[tuple[float, str]] = [(float("inf"), "max_epochs")]
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        ends.append((trainer.max_epochs * num_batches, "max_epochs"))
    if trainer.max_steps >= 0:
        accumulated = trainer.accumulate_grad_batches
        steps_per_epoch = -(-num_batches // accumulated)
        num_epochs, num_left = divmod(trainer.max_steps, steps_per_epoch)
        ends.append((num_epochs * num_batches + num_left * accumulated, "max_steps"))
    return min(ends)
