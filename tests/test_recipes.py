"""The recipes of docs/recipes.md: they say what was published, and each trains a step."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from maskmill.assembly.build import build
from maskmill.assembly.conf_search_path import packaged_conf
from maskmill.assembly.training_parts import build_task
from maskmill.canonical.panoptic import Panoptic
from maskmill.data.targets import encode_targets
from maskmill.data.transforms import Augmentation
from maskmill.sources.finding import Findings
from maskmill.sources.images import read_image
from maskmill.sources.source import Source
from maskmill.tasks.optimization import configure
from shipped_sources import shipped
from strategies import CATEGORIES

# Encoders and crops that take a CPU less than a second, without a hub
SMALL_RESNET = ("encoder.name=resnet10t", "encoder.pretrained=false", "data.crop_size=[64,64]")
SMALL = {
    "cityscapes_deeplabv3plus": SMALL_RESNET,
    "cityscapes_panoptic_deeplab": SMALL_RESNET,
    "coco_mask2former": (
        *(*SMALL_RESNET, "network.width=32", "network.num_queries=20", "loss.num_points=64"),
        *("network.pixel_layers=1", "network.decoder_layers=2"),
    ),
    "coco_eomt": (
        *("encoder.name=vit_tiny_patch16_224", "encoder.pretrained=false"),
        *("data.crop_size=[64,64]", "network.image_size=64", "loss.num_points=64"),
    ),
    "ade20k_upernet": (
        *("encoder.name=pvt_v2_b0", "encoder.pretrained=false", "data.crop_size=[64,64]"),
        "network.decoder.decoder_channels=32",
    ),
    "camvid_960x720": SMALL_RESNET,
    "dsb2018_gpu": SMALL_RESNET,
    "cwfid_gpu": SMALL_RESNET,
}

# Public data in the format of a recipe: its folder, and the source that reads it there
PUBLIC = {
    "coco_mask2former": ("coco_panoptic_sample", "coco_panoptic_sample"),
    "coco_eomt": ("coco_panoptic_sample", "coco_panoptic_sample"),
    "camvid_960x720": ("camvid", "camvid"),
    "dsb2018_gpu": ("dsb2018", "dsb2018"),
    "cwfid_gpu": ("cwfid", "cwfid"),
}


def composed(name, *overrides):
    with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
        return compose("config", [f"experiment={name}", *overrides])


def public_sample(name):
    """Categories, an image and its labels of public data; None where there are none here."""
    folder, source_name = PUBLIC.get(name, ("", ""))
    root = Path(os.environ.get("MASKMILL_DATA", "")) / folder
    if not folder or not root.is_dir():
        return None
    source = shipped(source_name, root)
    sample = source.samples(Findings())[0]
    return (
        source.categories,
        read_image(sample.image, Findings()).rgb,
        source.read(sample, Findings()),
    )


def drawn_sample(cfg):
    """Noise, with blocks of categories of the recipe's source, or of others if files name those."""
    is_named = "categories" in cfg.source
    categories = build(cfg.source, Source).categories if is_named else CATEGORIES
    ids = np.kron(np.arange(1, 5).reshape(2, 2), np.ones((60, 60))).astype(np.int32)
    chosen = [category.id for category in categories][-4:]
    panoptic = Panoptic.from_ids(ids, dict(zip(range(1, 5), chosen, strict=True)))
    image = np.random.default_rng(0).integers(0, 256, (*ids.shape, 3), np.uint8)
    return categories, image, panoptic


def draw_batch(cfg, categories, image, panoptic):
    """Two samples with the recipe's augmentation."""
    augmentation = build(cfg.augment, Augmentation)
    rows = []
    for seed in range(2):
        new_image, ids = augmentation(image, panoptic.ids, [seed])
        labels = Panoptic.from_ids(ids, panoptic.category_of, crowds=panoptic.crowds)
        rows.append((new_image.transpose(2, 0, 1), *encode_targets(labels, categories)))
    arrays = map(np.stack, zip(*rows, strict=True))
    return dict(zip(("image", "semantic", "instance"), map(torch.from_numpy, arrays), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_recipe_starts(name):
    cfg = composed(name, *SMALL[name])
    categories, image, panoptic = public_sample(name) or drawn_sample(cfg)
    task = build_task(cfg, categories).train()
    batch = draw_batch(cfg, categories, image, panoptic)
    assert batch["image"].shape[-2:] == tuple(cfg.data.crop_size)
    optimizer = configure(task.network, task.optimizer, task.scheduler, 10_000)["optimizer"]
    before = [weight.detach().clone() for weight in task.network.parameters()]
    output = task.training_step(batch, 0)
    output["loss"].backward()
    optimizer.step()
    assert output["loss"].isfinite()
    changed = [
        not torch.equal(*pair) for pair in zip(before, task.network.parameters(), strict=True)
    ]
    assert sum(changed) > len(changed) / 2


@pytest.mark.parametrize("name", SMALL)
def test_a_recipe_says_what_was_published_and_measured(name, repository):
    text = (repository / "conf" / "experiment" / f"{name}.yaml").read_text()
    comment = " ".join(line[2:] for line in text.splitlines() if line.startswith("# "))
    assert "Measured: not run" in comment
    page = (repository / "docs" / "recipes.md").read_text()
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
    target, measured = row.split(" | ")[3:]
    assert measured.startswith("not run")
    for figure in re.findall(r"[\d.]+ %", target):
        assert figure in comment
