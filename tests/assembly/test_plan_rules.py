"""The rules of a plan, each at both sides of its bounds."""

import re
from dataclasses import replace

import pytest

from maskmill.assembly.plan_choice import Machine
from maskmill.assembly.plan_rules import FROZEN_STATISTICS, choose_parts, choose_task
from maskmill.assembly.plan_schedule import (
    Length,
    affordable_validations,
    choose_batch,
    choose_schedule,
    is_short,
)
from maskmill.assembly.targets import ConfigurationTargets
from maskmill.data.profile import DataProfile, Spread

CPU = Machine("cpu", cores=2, memory=8 * 10**9, weights="package")
GPU = Machine("gpu", cores=16, memory=40 * 10**9, weights="package")
STREET = DataProfile(
    num_images=100,
    num_val=20,
    height=360,
    width=480,
    largest_area=360 * 480,
    size_ratio=1.0,
    thing_names=("car",),
    stuff_names=("road", "sky"),
    shares={"car": 0.1, "road": 0.5, "sky": 0.4},
    object_side=Spread(10, 40, 60),
    smallest_object=50,
    smallest_stuff=900,
    objects_per_image=12,
    upright_class="sky",
    brightness_spread=20.0,
)
USUAL = {"object_side": Spread(9, 50, 64)}  # crops of 192 px, at their own size
ALIKE = {"thing_names": (), "object_side": None}


def chosen(key, *, machine=CPU, task="panoptic", is_short=False, **changes):
    """The value of a key in the plan of a street scene with changes; None without that choice."""
    choices = choose_parts(replace(STREET, **changes), machine, task, is_short=is_short)
    assert all(choice.reason for choice in choices)
    for target in re.findall(r"'_target_': '([^']+)'", str([choice.value for choice in choices])):
        ConfigurationTargets().check(target)  # of which `train` builds nothing else
    return {choice.key: choice.value for choice in choices}.get(key)


@pytest.mark.parametrize(
    ("things", "stuff", "asked", "task"),
    [
        ((), ("road",), None, "semantic"),
        (("car",), (), None, "instance"),
        (("car",), ("road",), None, "panoptic"),
        (("car",), ("road",), "instance", "instance"),
    ],
)
def test_the_task_is_what_the_classes_allow_or_what_the_user_asks_for(things, stuff, asked, task):
    profile = replace(STREET, thing_names=things, stuff_names=stuff)
    assert choose_task(profile, asked) == task


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"object_side": None},
            r"objects in the training split \(car\), .* set plan.task=semantic",
        ),
        ({"num_images": 1}, "at least two training images, .* set plan.task=semantic"),
    ],
)
def test_a_task_that_the_data_do_not_allow_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        choose_task(replace(STREET, **changes), None)
    assert choose_task(replace(STREET, **changes), "semantic") == "semantic"


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        pytest.param({"object_side": Spread(9, 50, 60)}, [192, 192], id="small-objects"),
        pytest.param({"object_side": Spread(9, 50, 64)}, [192, 192], id="three-times-64"),
        pytest.param({"object_side": Spread(9, 50, 65)}, [224, 224], id="three-times-65"),
        pytest.param({"object_side": Spread(9, 90, 400)}, [352, 384], id="within-the-image"),
        pytest.param({"object_side": Spread(9, 32, 48)}, [96, 96], id="192-px-of-the-network"),
        pytest.param(
            {"object_side": Spread(9, 32, 64)}, [128, 128], id="twice-64-at-twice-the-size"
        ),
        pytest.param(
            {"object_side": Spread(9, 32, 65)}, [160, 160], id="twice-65-at-twice-the-size"
        ),
        pytest.param({"object_side": Spread(9, 32, 400)}, [192, 192], id="384-px-of-the-network"),
        pytest.param(
            {"object_side": Spread(9, 99, 394), "is_short": True, "height": 966, "width": 1296},
            [416, 416],
            id="once-394-at-half-the-size",
        ),
        pytest.param({"machine": GPU, "object_side": Spread(9, 50, 90)}, [288, 288], id="gpu"),
        pytest.param({"task": "semantic", **ALIKE}, [256, 256], id="no-objects"),
        pytest.param({"machine": GPU, "task": "semantic", **ALIKE}, [352, 480], id="whole-image"),
        pytest.param(
            {"height": 96, "width": 160, "object_side": Spread(9, 50, 64)},
            [96, 160],
            id="an-image-below-the-crop",
        ),
        pytest.param({"height": 20, "width": 500}, [32, 480], id="a-strip"),
    ],
)
def test_the_crop_holds_objects_and_fits_into_the_image(changes, size):
    assert chosen("data.crop_size", **changes) == size


@pytest.mark.parametrize(
    ("key", "changes", "value"),
    [
        ("network", {"task": "semantic"}, "fpn"),
        ("network", {"task": "semantic", "machine": GPU}, "unet"),
        ("network", {}, "panoptic_deeplab"),
        ("task", {"task": "instance"}, "instance"),
        ("network.width", {}, None),
        ("network.width", {"machine": GPU}, 128),
        ("network.atrous_rates", {"object_side": Spread(9, 50, 96)}, None),
        ("network.atrous_rates", {"object_side": Spread(9, 50, 97)}, [6, 12, 18]),
        ("network.atrous_rates", {"object_side": Spread(9, 99, 192), "is_short": True}, None),
        ("network.start_at_zero", {}, True),
        ("network.start_at_zero", {"task": "semantic"}, None),
        ("network.scale", {"object_side": Spread(9, 10, 20)}, 2.0),  # not more than twice
        ("network.scale", {"object_side": Spread(9, 45, 60)}, 2.0),  # 64 / 45 is above sqrt(2)
        ("network.scale", {"object_side": Spread(9, 46, 60)}, None),
        ("network.scale", {"object_side": Spread(9, 900, 999)}, None),
        ("network.scale", {"task": "semantic"}, None),
        ("network.scale", {"object_side": Spread(9, 90, 99), "is_short": True}, None),
        ("network.scale", {"object_side": Spread(9, 91, 99), "is_short": True}, 0.5),
        ("network.scale", {"object_side": Spread(9, 900, 999), "is_short": True}, 0.5),
        ("network.scale", {"object_side": Spread(9, 45, 60), "is_short": True}, 2.0),
        ("network.scale", {"task": "semantic", "is_short": True}, None),
        ("network.output_stride", {"object_side": Spread(9, 45, 60)}, 32),
        ("network.output_stride", {"object_side": Spread(9, 46, 60)}, None),
        ("network.output_stride", {"object_side": Spread(9, 99, 99), "is_short": True}, None),
        ("encoder", {}, "efficientnet_lite0"),
        ("encoder", {"machine": replace(CPU, weights="none")}, "resnet10t"),
        ("encoder.name", {"machine": replace(CPU, weights="hub")}, "resnet18"),
        ("encoder.name", {"machine": replace(GPU, weights="hub")}, "resnet50"),
        ("loss", {"task": "semantic"}, "cross_entropy_dice"),
        ("loss", {}, None),
        ("class_weights", {"shares": {"road": 0.98, "car": 0.02}}, None),
        ("class_weights", {"shares": {"road": 0.99, "car": 0.01}}, "median_frequency"),
        ("class_weights", {"shares": {"road": 1.0, "car": 0.0}}, None),
        ("class_weights", {"shares": {"car": 0.99, "bus": 0.01}, "stuff_names": ()}, None),
        ("class_weights.power", {"task": "semantic", "shares": {"road": 0.99, "car": 0.01}}, None),
        ("class_weights.power", {"shares": {"road": 0.99, "car": 0.01}}, 0.5),
        ("class_weights.power", {"shares": {"road": 0.98, "car": 0.02}}, None),
        ("inference", {"largest_area": 2048 * 1024}, "whole"),
        ("inference", {"largest_area": 2048 * 1024 + 1}, "sliding_window"),
        ("inference.window", {"largest_area": 10**8, **USUAL}, [384, 384]),
        ("inference", {"upright_class": None}, "flips"),
        ("inference", {"upright_class": None, "largest_area": 10**8}, "sliding_window_tta"),
        ("inference", {"upright_class": None, "task": "semantic"}, "whole"),
        ("data.area_power", {"size_ratio": 1.5}, None),
        ("data.area_power", {"size_ratio": 1.6}, 0.5),
        ("callbacks.frozen_statistics", {"brightness_spread": 45.0}, None),
        ("callbacks.frozen_statistics", {"brightness_spread": 46.0}, FROZEN_STATISTICS),
        ("trainer", {}, None),
        ("trainer", {"machine": GPU}, "gpu"),
        ("data.num_workers", {"machine": GPU}, 8),
        ("loss.sigma_px", {"object_side": Spread(9, 4, 20)}, 1.0),  # 2 px of the network
        ("loss.sigma_px", {}, 5.0),
        ("loss.sigma_px", {"object_side": Spread(9, 500, 800)}, 12.0),
        ("loss.offset_weight", {"object_side": Spread(9, 5, 9)}, 0.1),
        ("loss.offset_weight", {}, 0.025),
        ("loss.offset_weight", {"object_side": Spread(9, 500, 800)}, 0.01),
        ("task.postprocess.nms_kernel", {"object_side": Spread(1, 2, 3)}, 3),
        ("task.postprocess.nms_kernel", {}, 41),
        ("task.postprocess.nms_kernel", {"object_side": Spread(90, 153, 300)}, 153),
        ("task.postprocess.top_k", {"objects_per_image": 100}, 200),
        ("task.postprocess.top_k", {"objects_per_image": 101}, 202),
        ("task.postprocess.min_area_px", {}, 25),
        ("task.postprocess.min_area_px", {"smallest_object": 3}, 4),
        ("augment.min_area_px", {}, 25),
        ("task.postprocess.stuff_area_px", {}, 168),  # 360 x 480 / 1024
        ("task.postprocess.stuff_area_px", {"smallest_stuff": 30}, 30),
        ("task.postprocess.stuff_area_px", {"task": "instance"}, None),
    ],
)
def test_a_choice_follows_its_rule(key, changes, value):
    assert chosen(key, **changes) == value


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, ["RandomResizedCrop", "HorizontalFlip", "ColorJitter"]),
        ({"upright_class": None}, ["D4", "RandomResizedCrop", "ColorJitter"]),
        ({"size_ratio": 1.6}, ["ScaleJitter", "HorizontalFlip", "ColorJitter"]),
        (
            {"brightness_spread": 46.0},
            ["RandomResizedCrop", "HorizontalFlip", "InvertImg", "ColorJitter"],
        ),
    ],
)
def test_the_transforms_follow_position_sizes_and_brightness(changes, names):
    transforms = chosen("augment.transforms", **changes)
    assert transforms[-1]["hue"] == (0.1 if "brightness_spread" in changes else 0.02)
    assert [item["_target_"].rpartition(".")[2] for item in transforms] == names


@pytest.mark.parametrize(
    ("num_images", "scale", "brightness"),
    [  # of windows of 192 px in 360 x 480, a share of 0.213
        (200, [0.095, 0.48], 0.3),
        (201, [0.109, 0.418], 0.2),
        (5000, [0.137, 0.333], 0.15),
    ],
)
def test_few_images_are_varied_more(num_images, scale, brightness):
    window, _, colors = chosen("augment.transforms", num_images=num_images, **USUAL)
    assert (window["scale"], colors["brightness"]) == (scale, brightness)


def planned(num_samples, *, machine=CPU, num_images=100, epochs=None, **settings):
    length = Length(num_images, num_samples, "test", 192 * 192, epochs, **settings)
    batch = choose_batch(length, machine)
    schedule = choose_schedule(length, batch[0].value)
    return {choice.key: choice.value for choice in [*batch, *schedule]}


@pytest.mark.parametrize(
    ("changes", "batch", "accumulated"),
    [
        ({"num_samples": 7999}, 4, None),  # fewer than 1000 steps of 8
        ({"num_samples": 8000}, 8, None),
        ({"num_samples": 16_000, "machine": GPU}, 16, None),
        ({"num_samples": 8000, "num_images": 3}, 3, None),
        ({"num_samples": 8000, "machine": replace(CPU, memory=3 * 92_160_000)}, 3, 3),
        ({"num_samples": 8000, "machine": replace(CPU, memory=1)}, 2, 4),
    ],
)
def test_the_batch_follows_length_data_and_memory(changes, batch, accumulated):
    plan = planned(**changes)
    assert plan["data.batch_size"] == batch
    assert plan.get("trainer.accumulate_grad_batches") == accumulated


@pytest.mark.parametrize(
    ("changes", "epochs", "every"),
    [
        ({"num_samples": 1450}, 14, 1),  # of 25 steps of 4, all 100 images
        ({"num_samples": 1950}, 18, 2),  # 19, less one that no validation would follow
        ({"num_samples": 950, "validations": 2}, 8, 4),
        ({"num_samples": 10}, 1, 1),
        ({"num_samples": 2300, "epochs": 23}, 23, 1),  # the user's epochs stay
        ({"num_samples": 2400, "epochs": 24}, 24, 2),
        ({"num_samples": 240, "epochs": 24, "num_images": 10}, 24, 2),
        ({"num_samples": 1300, "epochs": 13, "validations": 2}, 13, 13),  # not each epoch
    ],
)
def test_the_last_validation_is_at_the_end(changes, epochs, every):
    plan = planned(**changes)
    assert (plan["trainer.max_epochs"], plan["trainer.check_val_every_n_epoch"]) == (epochs, every)


@pytest.mark.parametrize(("num_samples", "short"), [(799, True), (800, False)])
def test_a_training_of_less_than_200_steps_of_4_is_short(num_samples, short):
    assert is_short(Length(100, num_samples, "test", 192 * 192)) == short


@pytest.mark.parametrize(
    ("seconds", "validations"),
    [(1.0, 10), (6.0, 10), (6.1, 9), (20.0, 3), (30.0, 2), (1000.0, 2)],
)
def test_validations_take_a_tenth_of_the_minutes_but_two_remain(seconds, validations):
    assert affordable_validations(seconds, 600.0) == validations


@pytest.mark.parametrize(
    ("changes", "rate", "scheduler", "callbacks"),
    [
        ({"num_samples": 700}, 0.004, "one_cycle", None),  # 175 steps
        ({"num_samples": 800}, 0.002, "one_cycle", None),
        ({"num_samples": 8000}, 0.0028, "one_cycle", None),
        ({"num_samples": 320_000, "machine": GPU}, 0.002, "poly", "ema"),
    ],
)
def test_the_learning_rate_and_its_schedule_follow_the_length(changes, rate, scheduler, callbacks):
    plan = planned(**changes, **({"num_images": 1600} if scheduler == "poly" else {}))
    assert plan["optimizer.lr"] == rate
    assert (plan["scheduler"], plan.get("callbacks")) == (scheduler, callbacks)
