"""Every loss and every augmentation preset under conf/, through a real network and back, as the
stage `train` builds them.
"""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import nn

from drawn_folders import scene, write_split
from maskmill.assembly.build import build
from maskmill.canonical.files import write_json
from maskmill.data.datamodule import SegmentationDataModule
from maskmill.data.transforms import Augmentation
from maskmill.sources.statistics import SplitStatistics, count_image
from strategies import CATEGORIES

CONF = Path(__file__).parents[2] / "conf"
SIZE = (64, 96)
# Losses of the outputs of dense networks; those of queries are tested with their networks.
LOSSES = sorted(
    path.stem for path in CONF.glob("loss/*.yaml") if "mask_classification" not in path.read_text()
)
PRESETS = sorted(path.stem for path in CONF.glob("augment/*.yaml"))
WEIGHTS = sorted(path.stem for path in CONF.glob("class_weights/*.yaml"))


def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(
            "config",
            [
                f"data.crop_size=[{SIZE[0]},{SIZE[1]}]",
                "data.num_workers=0",
                "data.batch_size=2",
                *overrides,
            ],
        )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A split of drawn scenes with the statistics `prepare` writes."""
    root = tmp_path_factory.mktemp("prepared")
    labels = [scene(seed, height=SIZE[0], width=SIZE[1]) for seed in range(4)]
    write_split(root / "train", labels, images=True)
    statistics = SplitStatistics()
    for panoptic in labels:
        statistics.add(
            count_image(torch.zeros(*panoptic.size, 3, dtype=torch.uint8).numpy(), panoptic)
        )
    content = {
        "categories": CATEGORIES.as_list(),
        "statistics": {"train": statistics.summarize(CATEGORIES)},
    }
    write_json(root / "dataset.json", content)
    return root


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build(
        composed("network=panoptic_deeplab", "network.width=16").network,
        nn.Module,
        num_classes=CATEGORIES.num_outputs,
    )


def batch_of(cfg):
    data = build(cfg.data, SegmentationDataModule, augmentation=build(cfg.augment, Augmentation))
    return next(iter(data.train_dataloader()))


def learn(network, loss, batch):
    """The sum of the terms, with its slopes in the network's parameters."""
    network.zero_grad()
    terms = loss(network(batch["image"]), batch)
    assert all(term.isfinite() and term.ndim == 0 for term in terms.values())
    total = sum(terms.values())
    total.backward()
    slopes = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert all(slope.isfinite().all() for slope in slopes)
    assert any(slope.any() for slope in slopes)
    return total


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_teaches_a_network(prepared, network, name):
    cfg = composed(f"loss={name}", f"data.root={prepared}", "class_weights=effective_number")
    learn(network, build(cfg.loss, nn.Module), batch_of(cfg))


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_feeds_a_network(prepared, network, name):
    cfg = composed(f"augment={name}", f"data.root={prepared}")
    learn(network, build(cfg.loss, nn.Module), batch_of(cfg))


@pytest.mark.slow
@pytest.mark.parametrize("name", WEIGHTS)
def test_every_kind_of_class_weights_reaches_a_loss_within_a_loss(prepared, network, name):
    cfg = composed("loss=cross_entropy_dice", f"class_weights={name}", f"data.root={prepared}")
    loss = build(cfg.loss, nn.Module)
    weights = loss.losses[0].class_weights
    assert (weights is None) == (name == "equal")
    assert weights is None or len(weights) == CATEGORIES.num_outputs
    learn(network, loss, batch_of(cfg))


@pytest.mark.slow
def test_class_weights_given_by_hand_are_taken(prepared):
    cfg = composed("loss=focal", "loss.class_weights=[1,2,0.5,4]", f"data.root={prepared}")
    assert build(cfg.loss, nn.Module).class_weights.tolist() == [1, 2, 0.5, 4]
