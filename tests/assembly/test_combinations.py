"""Which networks, tasks, losses and encoders go together."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn

from maskmill.assembly.code_digests import target_modules
from maskmill.assembly.combinations import check_combination, choices_of, fits, given_outputs
from maskmill.assembly.conf_search_path import packaged_conf
from maskmill.assembly.encoder_fit import EncoderKind, fitting_kinds, kind_of_encoder
from maskmill.assembly.training_parts import build_task
from maskmill.canonical.categories import Categories
from maskmill.losses.overlap import Dice
from maskmill.tasks.segmentation import SemanticTask
from strategies import CATEGORIES

SEMANTIC = {"encoder": "resnet10t", "task": "semantic", "loss": "cross_entropy_dice"}
MASKS = {"encoder": "resnet10t", "task": "panoptic_masks", "loss": "mask_classification"}
DEFAULT = {"encoder": "resnet10t", "task": "panoptic", "loss": "panoptic_deeplab"}
PLAIN = {"encoder": "vit_tiny"}  # a plain transformer
BROUGHT = {
    "nothing": ([], DEFAULT),
    "unet": (["network=unet"], SEMANTIC),
    "dpt": (["network=dpt"], SEMANTIC | PLAIN),
    "eomt": (["network=eomt"], MASKS | PLAIN),
    "mask2former": (["network=mask2former"], MASKS),
    "the loss on the line": (["network=unet", "loss=dice"], SEMANTIC | {"loss": "dice"}),
    "the task on the line": (
        ["task=semantic", "network=mask2former"],
        MASKS | {"task": "semantic"},
    ),
    "the task of an experiment": (["experiment=scenes_instance"], DEFAULT | {"task": "instance"}),
    "the network of an experiment": (["experiment=scenes_eomt"], MASKS | PLAIN),
    "instead of the experiment's": (["experiment=sweep_lr", "network=unet"], SEMANTIC),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", BROUGHT)
def test_a_network_brings_task_loss_and_encoder_unless_they_are_named(case):
    overrides, expected = BROUGHT[case]
    with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
        cfg = compose("config", overrides, return_hydra_config=True)
    choices = cfg.hydra.runtime.choices
    assert {group: choices[group] for group in expected} == expected


def documented_rows(repository, header):
    """The rows below a header of a table in docs/combinations.md."""
    text = (repository / "docs/combinations.md").read_text()
    table = text.partition(f"{header}\n")[2].partition("\n\n")[0]
    return table.splitlines()[1:]


def test_the_documentation_lists_what_goes_together(repository):
    networks_of = {}
    for name, network in choices_of("network").items():
        outputs = ", ".join(sorted(given_outputs(network).outputs))
        tasks = [task for task, node in choices_of("task").items() if fits(network, task=node)]
        losses = [loss for loss, node in choices_of("loss").items() if fits(network, loss=node)]
        row = (outputs, ", ".join(tasks), ", ".join(losses))
        networks_of.setdefault(row, []).append(name)
    rows = [f"| {', '.join(names)} | {' | '.join(row)} |" for row, names in networks_of.items()]
    assert documented_rows(repository, "| networks | outputs | tasks | losses |") == rows


def composed(*overrides):
    with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
        return compose("config", list(overrides))


@pytest.mark.slow
def test_lists_of_a_composed_configuration_are_read_as_plain_ones():
    cfg = composed("network=unet")
    assert OmegaConf.is_list(cfg.loss.losses)
    assert fits(cfg.network, loss=cfg.loss)
    assert not fits(choices_of("network")["mask2former"], loss=cfg.loss)
    assert {"maskmill.losses.semantic", "maskmill.losses.overlap"} < target_modules(cfg.loss)


REFUSED = {
    "a task that needs more": (
        {"network": "unet", "task": "panoptic", "loss": "cross_entropy_dice"},
        "task=panoptic: expected a task that needs only what network=unet gives (semantic), but it "
        "also needs center, offset - choose task=semantic, or network=panoptic_deeplab",
    ),
    "a loss that reads more": (
        {"network": "mask2former", "task": "panoptic_masks", "loss": "dice"},
        "loss=dice: expected a loss of what network=mask2former gives (class_logits, mask_logits), "
        "but it also reads semantic - choose loss=mask_classification, or network=deeplabv3 | ",
    ),
    "a loss that reads less": (
        {"network": "panoptic_deeplab", "task": "panoptic", "loss": "dice"},
        "loss=dice: expected a loss of what network=panoptic_deeplab gives (center, offset, "
        "semantic), but no term of it reads center, offset, whose weights would never be trained - "
        "choose loss=panoptic_deeplab | panoptic_deeplab_paper, or network=deeplabv3 | ",
    ),
    "an auxiliary loss without its head": (
        {"network": "unet", "task": "semantic", "loss": "cross_entropy_auxiliary"},
        "but it also reads auxiliary - set network.auxiliary=true",
    ),
}


ENCODERS_REFUSED = {
    ("unet", "vit_tiny"): (
        "encoder vit_tiny_patch16_224: expected an encoder that fits network=unet (convolutional "
        "network or pyramid transformer), but this is a plain transformer - choose "
        "encoder=convnext_atto | efficientnet_lite0 | pvt_v2_b0 | resnet10t | resnet18 | "
        "swin_tiny, or network=dpt | eomt"
    ),
    ("panoptic_deeplab", "pvt_v2_b0"): (
        "encoder pvt_v2_b0: expected an encoder that fits network=panoptic_deeplab "
        "(convolutional network), but this is a pyramid transformer - choose "
        "encoder=convnext_atto | efficientnet_lite0 | resnet10t | resnet18, or network=dpt | fpn | "
        "linknet | manet | mask2former | mask2former_base, ..."
    ),
    ("eomt", "resnet18"): (
        "encoder resnet18: expected an encoder that fits network=eomt (plain transformer), but "
        "this is a convolutional network - choose encoder=vit_tiny, or network="
    ),
}


@pytest.mark.parametrize(("network", "encoder"), ENCODERS_REFUSED)
def test_an_encoder_that_its_name_rules_out_is_refused(network, encoder):
    node = choices_of("network")[network] | {"encoder": choices_of("encoder")[encoder]}
    parts = {"network": node, "task": {}, "loss": {}}
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the message is compared below
        check_combination(parts, {"network": network})
    assert str(raised.value).startswith(ENCODERS_REFUSED[network, encoder])


def test_an_encoder_of_another_family_is_left_to_the_network():
    node = choices_of("network")["unet"] | {"encoder": {"name": "hrnet_w18"}}
    check_combination({"network": node, "task": {}, "loss": {}})


@pytest.mark.parametrize(
    ("network", "change"),
    [
        ("deeplabv3plus", {"decoder": "abc"}),
        ("deeplabv3plus", {"decoder": {"encoder_output_stride": None}}),
        ("panoptic_deeplab", {"output_stride": "abc"}),
        ("unet", {"encoder": "abc"}),
        ("unet", {"encoder": {}}),
    ],
)
def test_values_of_another_type_are_left_to_the_network(network, change):
    node = choices_of("network")[network] | {"encoder": {"name": "resnet18"}} | change
    check_combination({"network": node, "task": {}, "loss": {}})


def test_an_encoder_of_the_project_without_a_name_is_not_proposed(tmp_path, monkeypatch):
    (tmp_path / "conf/encoder").mkdir(parents=True)
    (tmp_path / "conf/encoder/mine.yaml").write_text("_target_: mine.Encoder\n")
    monkeypatch.chdir(tmp_path)
    node = choices_of("network")["unet"] | {"encoder": choices_of("encoder")["vit_tiny"]}
    with pytest.raises(ValueError, match=r"choose encoder=convnext_atto \| .* \| swin_tiny, or"):
        check_combination({"network": node, "task": {}, "loss": {}})


def test_the_documentation_lists_the_encoders_that_fit_by_name(repository):
    header = "| network | convolutional | pyramid transformer | plain transformer | batch of one |"
    rows = [row.strip("| ").split(" | ") for row in documented_rows(repository, header)]
    assert len(rows) == 15
    for name, *cells in rows:
        kinds = fitting_kinds(choices_of("network")[name])
        assert cells[:3] == ["yes" if kind in kinds else "no" for kind in EncoderKind], name
    for name, node in choices_of("encoder").items():
        assert (kind_of_encoder(node["name"]) is None) == (name == "timm")


@pytest.mark.parametrize("case", REFUSED)
def test_parts_that_do_not_go_together_are_refused_with_what_to_choose(case):
    choices, message = REFUSED[case]
    parts = {group: choices_of(group)[name] for group, name in choices.items()}
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the message is compared below
        check_combination(parts, choices)
    assert message in str(raised.value)


@pytest.mark.slow
def test_an_instance_task_needs_things():
    stuff = Categories([category for category in CATEGORIES if not category.isthing])
    with pytest.raises(ValueError, match=r"task: expected things .* ground, sky are all stuff - "):
        build_task(composed("task=instance"), stuff)


@pytest.mark.slow
@pytest.mark.parametrize(("network", "is_refused"), [("upernet", True), ("unet", False)])
def test_a_batch_of_one_is_tried_on_a_copy(network, is_refused):
    cfg = composed(f"network={network}", "data.batch_size=1", "data.crop_size=[64,64]")
    state = torch.get_rng_state()
    if is_refused:
        with pytest.raises(ValueError, match="either set data.batch_size to 2 or more"):
            build_task(cfg, CATEGORIES)
        return
    built = build_task(cfg, CATEGORIES)
    torch.set_rng_state(state)
    again = build_task(composed(f"network={network}", "data.batch_size=2"), CATEGORIES)
    for value, expected in zip(
        built.state_dict().values(), again.state_dict().values(), strict=True
    ):
        assert torch.equal(value, expected)


class OwnNetwork(nn.Module):
    """A network without annotations, with a head that no loss reads."""

    def __init__(self):
        super().__init__()
        self.semantic = nn.Conv2d(3, 4, 1)
        self.depth = nn.Conv2d(3, 1, 1)

    def forward(self, images):
        return {"semantic": self.semantic(images), "depth": self.depth(images)}


def test_the_first_step_refuses_an_output_of_an_own_network_that_no_loss_reads():
    parts = {"postprocess": None, "categories": CATEGORIES, "optimizer": None, "scheduler": None}
    task = SemanticTask(OwnNetwork(), Dice(), **parts)
    batch = {"image": torch.rand(2, 3, 8, 8), "semantic": torch.zeros(2, 8, 8, dtype=torch.uint8)}
    with pytest.raises(ValueError, match=r"no term of Dice reads depth, whose weights would never"):
        task.training_step(batch, 0)
