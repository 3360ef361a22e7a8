"""Every network of conf/ with every loss and every task: it trains, or is refused in advance."""

import re
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from transformers import EomtConfig, EomtForUniversalSegmentation

from maskmill.assembly.build import build
from maskmill.assembly.combinations import check_combination, choices_of, fits
from maskmill.assembly.training_parts import try_batch_of_one
from maskmill.postprocess.torch_network import as_arrays
from strategies import CATEGORIES
from tiny_mask2former import tiny_mask2former

CONF = Path(__file__).parents[2] / "conf"
TABLE = (CONF.parent / "docs/combinations.md").read_text()
SIZE = (64, 64)
# Where the files of conf/ choose sizes for a GPU
SMALL = {
    "mask2former_base": ["network.width=32", "network.pixel_layers=1", "network.decoder_layers=2"],
    "mask2former": ["network.decoder_layers=2"],
}
NETWORKS = {name: SMALL.get(name, []) for name in choices_of("network")}
NETWORKS["unet with an auxiliary head"] = ["network.auxiliary=true"]


def eomt_checkpoint(folder):
    config = EomtConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=64,
        num_upscale_blocks=2,
        num_blocks=1,
        num_queries=4,
        num_register_tokens=1,
    )
    EomtForUniversalSegmentation(config).save_pretrained(folder)


def mask2former_checkpoint(folder):
    tiny_mask2former().save_pretrained(folder)


CHECKPOINTS = {
    "eomt_checkpoint": eomt_checkpoint,
    "mask2former_checkpoint": mask2former_checkpoint,
}


def nodes_of(group):
    """Choice -> its file, without weights of classes, which come from a data set."""
    others = {"class_weights": None, "sizes": OmegaConf.load(CONF / "sizes" / "scenes.yaml")}
    nodes = {}
    for name in choices_of(group):
        own = {group: OmegaConf.load(CONF / group / f"{name}.yaml")}
        nodes[name] = OmegaConf.create(own | others)[group]
    return nodes


LOSSES = nodes_of("loss")
TASKS = nodes_of("task")


def build_batch():
    """Two images: class 2 is a thing of two instances, class 0 and 1 are stuff."""
    semantic = torch.zeros(2, *SIZE, dtype=torch.uint8)
    semantic[:, 40:] = 1
    instance = torch.zeros(2, *SIZE, dtype=torch.int32)
    for number, left in enumerate((5, 35), start=1):
        semantic[:, 10:30, left : left + 20] = 2
        instance[:, 10:30, left : left + 20] = number
    semantic[0, :4] = 255
    return {"semantic": semantic, "instance": instance}


def is_refused(network, task, loss):
    try:
        check_combination({"network": network, "task": task, "loss": loss})
    except ValueError:
        return True
    return False


def trains(network, outputs, loss):
    """Whether every weight gets a finite gradient."""
    try:
        terms = loss(outputs, build_batch())
    except KeyError:
        return False
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    slopes = torch.autograd.grad(sum(terms.values()), weights, retain_graph=True, allow_unused=True)
    return all(slope is not None and slope.isfinite().all() for slope in slopes)


def predicts(outputs, task):
    postprocess = build(task.postprocess, object, categories=CATEGORIES)
    try:
        return len(postprocess(as_arrays(outputs), [SIZE, SIZE])) == 2
    except KeyError:
        return False


def trains_one_image(network):
    try:
        try_batch_of_one(network, SIZE)
    except ValueError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("case", NETWORKS)
def test_a_network_trains_with_a_loss_and_a_task_or_they_are_refused(
    build_network, random_images, tmp_path, case
):
    name = case.split()[0]
    overrides = NETWORKS[case]
    if name in CHECKPOINTS:
        CHECKPOINTS[name](tmp_path)
        overrides = [f"network.checkpoint={tmp_path}"]
    encoder = "vit_tiny" if name in {"eomt", "dpt"} else "resnet10t"
    network = build_network(name, *overrides, encoder=encoder, num_classes=len(CATEGORIES))
    files = {"network": choices_of("network")[name], "encoder": None}
    merged = OmegaConf.merge(files, OmegaConf.from_dotlist(overrides))
    node = OmegaConf.to_container(merged, resolve=True)["network"]
    own_task = next(task for task in TASKS.values() if fits(node, task=task))
    own_loss = next(loss for loss in LOSSES.values() if not is_refused(node, own_task, loss))

    outputs = network.train()(random_images(SIZE))
    for loss_name, loss_node in LOSSES.items():
        refused = is_refused(node, own_task, loss_node)
        trained = trains(network, outputs, build(loss_node, nn.Module).train())
        # The auxiliary loss would train a network without auxiliary logits, but not by them.
        assert refused != trained or (refused and loss_name == "cross_entropy_auxiliary"), loss_name
    with torch.no_grad():
        outputs = network.eval()(random_images(SIZE))
    for task_name, task_node in TASKS.items():
        assert is_refused(node, task_node, own_loss) != predicts(outputs, task_node), task_name
    documented = re.search(rf"^\| {case} .*\| (\w+) \|$", TABLE, re.MULTILINE)
    if documented is not None:
        assert documented[1] == ("yes" if trains_one_image(network) else "no")
