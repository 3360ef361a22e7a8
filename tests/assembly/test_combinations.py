"""Which networks, tasks, losses and encoders go together."""

import pytest
from hydra import compose, initialize_config_dir

from maskmill.assembly.conf_search_path import packaged_conf

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


@pytest.mark.parametrize("case", BROUGHT)
def test_a_network_brings_task_loss_and_encoder_unless_they_are_named(case):
    overrides, expected = BROUGHT[case]
    with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
        cfg = compose("config", overrides, return_hydra_config=True)
    choices = cfg.hydra.runtime.choices
    assert {group: choices[group] for group in expected} == expected
