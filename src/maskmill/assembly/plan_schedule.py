"""Batch size, length, learning rate and validations from a number of samples."""

from dataclasses import dataclass

from maskmill.assembly.plan_choice import Choice, Machine

BYTES_PER_PIXEL = 2500  # of a crop in a training step; 1,900 to 2,500 measured on a CPU
CPU_BATCH, GPU_BATCH = 8, 16
SMALL_BATCH = 4  # for short trainings, which need steps
SHORT_STEPS, LONG_STEPS = 1000, 20_000
MIN_VALIDATIONS, MAX_VALIDATIONS = 2, 10
VALIDATION_SHARE = 0.1  # of the training
MAX_RATE = 2e-3  # of AdamW for a batch of 4
SHORT_RATE, LONG_RATE = 2.0, 0.5  # times that in a short and in a long training
FEW_STEPS = 100
CHEAP_STEPS = 200  # below them, a step should cost less and change more


@dataclass(frozen=True)
class Length:
    """How much is trained.

    Args:
        num_images: of the training split.
        num_samples: that the budget pays for.
        origin: of `num_samples`, for the reasons.
        crop_px: pixels of a sample that the network sees.
        epochs: that the user has set; None: as many as the samples pay for.
        validations: how many, about.
    """

    num_images: int
    num_samples: int
    origin: str
    crop_px: int
    epochs: int | None = None
    validations: int = MAX_VALIDATIONS


def affordable_validations(cost: float, budget: float) -> int:
    """How many validations take a tenth of the budget, from 2 to 10.

    Args:
        cost: of a validation, in seconds or in pixels of training samples.
        budget: of the training, in the same unit.
    """
    affordable = int(VALIDATION_SHARE * budget / max(cost, 1e-9))
    return min(max(affordable, MIN_VALIDATIONS), MAX_VALIDATIONS)


def is_short(length: Length) -> bool:
    """Whether the budget pays for so few steps that cheaper ones are better."""
    return length.num_samples < CHEAP_STEPS * SMALL_BATCH


def choose_batch(length: Length, machine: Machine) -> list[Choice]:
    """The batch size, and the steps to accumulate where memory is short."""
    wanted = GPU_BATCH if machine.device == "gpu" else CPU_BATCH
    steps = length.num_samples // wanted
    reason = f"{length.num_samples} samples ({length.origin}) are {steps} steps"
    if steps < SHORT_STEPS:
        wanted = SMALL_BATCH
        steps = length.num_samples // wanted
        reason = f"a short training needs steps: {length.num_samples} samples are {steps} steps"
    wanted = min(wanted, length.num_images)
    fitting = max(machine.memory // (BYTES_PER_PIXEL * length.crop_px), 1)
    if wanted <= fitting:
        return [Choice("data.batch_size", wanted, reason)]
    batch = max(fitting, min(2, length.num_images))
    accumulated = -(-wanted // batch)
    short = f"{machine.memory / 1e9:.1f} GB take {batch} crops of {length.crop_px} px at a time"
    return [
        Choice("data.batch_size", batch, short),
        Choice("trainer.accumulate_grad_batches", accumulated, f"as a batch of {wanted}"),
    ]


def choose_schedule(length: Length, batch_size: int) -> list[Choice]:
    """Epochs, validations, learning rate and its schedule.

    Args:
        length: of the training.
        batch_size: samples per optimizer step.
    """
    steps_per_epoch = max(length.num_images // batch_size, 1)
    trained_per_epoch = steps_per_epoch * min(batch_size, length.num_images)
    epochs = length.epochs or max(length.num_samples // trained_per_epoch, 1)
    every = max(round(epochs / length.validations), 1)
    if length.epochs is None:
        epochs = epochs // every * every
    every = _nearest_divisor(epochs, every)  # the last validation is that of the final weights
    steps = epochs * steps_per_epoch
    factor, why_factor = _rate_factor(steps)
    rate = factor * MAX_RATE * (batch_size / 4) ** 0.5
    choices = [
        Choice(
            "trainer.max_epochs",
            epochs,
            f"{length.origin}: {length.num_samples} samples; {steps} steps of {batch_size}, "
            f"{steps_per_epoch} an epoch",
        ),
        Choice(
            "trainer.check_val_every_n_epoch",
            every,
            f"{epochs // every} validations, the last at the end",
        ),
        Choice("callbacks.pictures.every_n_epochs", epochs, "at the end"),
        Choice(
            "optimizer.lr",
            float(f"{rate:.2g}"),
            f"{MAX_RATE:g} for a batch of 4, with the root of the batch size{why_factor}",
        ),
    ]
    if steps >= LONG_STEPS:
        reason = f"{steps} steps: the schedule of DeepLab for long trainings"
        choices.append(Choice.of_group("scheduler", "poly", reason))
        choices.append(Choice("scheduler.warmup_steps", 500, "the batch statistics settle first"))
        reason = f"{steps} steps: the mean of the last thousand weights"
        choices.append(Choice.of_group("callbacks", "ema", reason))
    else:
        reason = f"{steps} steps: up and down to zero, the fastest for a short training"
        choices.append(Choice.of_group("scheduler", "one_cycle", reason))
    return choices


def _rate_factor(steps: int) -> tuple[float, str]:
    """Times the usual rate, and why."""
    if steps < CHEAP_STEPS:
        return SHORT_RATE, f"; times {SHORT_RATE:g}, since {steps} steps are few"
    if steps >= LONG_STEPS:
        return LONG_RATE, f"; times {LONG_RATE:g}, since {steps} steps are many"
    return 1.0, ""


def _nearest_divisor(number: int, wanted: int) -> int:
    """The divisor of a number with the smallest ratio to the wanted one, up or down."""
    divisors = [divisor for divisor in range(1, number + 1) if number % divisor == 0]
    return min(divisors, key=lambda divisor: max(divisor / wanted, wanted / divisor))
