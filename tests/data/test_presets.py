"""Laws of every preset in conf/augment, built as the stage `train` builds it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from drawn_folders import scene, write_split
from maskmill.assembly.build import build
from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.data.datamodule import SegmentationDataModule
from maskmill.data.sampling import Draw
from maskmill.data.transforms import Augmentation
from strategies import CATEGORIES

CONF = Path(__file__).parents[2] / "conf"
SIZE = (64, 96)
PRESETS = sorted(path.stem for path in CONF.glob("augment/*.yaml"))
every_preset = pytest.mark.parametrize("preset", PRESETS)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Scenes of the crop size, which the preset `none` needs."""
    root = tmp_path_factory.mktemp("prepared")
    scenes = [scene(seed, height=SIZE[0], width=SIZE[1]) for seed in range(6)]
    write_split(root / "train", scenes, images=True)
    write_split(root / "val", scenes[:1], images=True)
    return root


@pytest.fixture(scope="module")
def presets():
    built = {}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for name in PRESETS:
            overrides = [f"augment={name}", f"data.crop_size=[{SIZE[0]},{SIZE[1]}]"]
            built[name] = build(compose("config", overrides).augment, Augmentation)
    return built


def module(root, augmentation, workers=0):
    return SegmentationDataModule(
        root, augmentation, crop_size=SIZE, batch_size=2, num_workers=workers, seed=5
    )


@pytest.mark.slow
@every_preset
def test_a_batch_has_the_crop_size_and_consistent_targets(root, presets, preset):
    for batch in module(root, presets[preset]).train_dataloader():
        assert batch["image"].shape == (2, 3, *SIZE)
        assert batch["image"].dtype == torch.uint8
        semantic = batch["semantic"]
        instance = batch["instance"]
        isthing = torch.zeros(256, dtype=torch.bool)
        isthing[: len(CATEGORIES)] = torch.from_numpy(CATEGORIES.isthing)
        assert set(semantic.unique().tolist()) <= {*range(len(CATEGORIES)), 255}
        assert isthing[semantic.long()][instance > 0].all()
        assert not isthing[semantic.long()][instance == 0].any()


@every_preset
def test_every_pixel_belongs_to_a_known_segment(root, presets, preset):
    dataset = module(root, presets[preset]).train_dataloader().dataset
    for epoch in range(3):
        for sample in range(len(dataset)):
            dataset[Draw(sample, epoch)]  # refuses an id that no segment has


@every_preset
def test_a_sample_depends_only_on_seed_epoch_and_index(root, presets, preset):
    first = module(root, presets[preset]).train_dataloader().dataset
    second = module(root, presets[preset]).train_dataloader().dataset
    second[Draw(3, 9)]  # earlier draws do not matter
    for key in ("image", "semantic", "instance"):
        assert torch.equal(first[Draw(2, 4)][key], second[Draw(2, 4)][key])
    if preset != "none":
        assert not torch.equal(first[Draw(2, 4)]["image"], first[Draw(2, 5)]["image"])


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["copy_paste", "mosaic", "medical"])
def test_the_samples_do_not_depend_on_the_number_of_workers(root, presets, preset):
    without_workers = list(module(root, presets[preset], 0).train_dataloader())
    with_workers = list(module(root, presets[preset], 2).train_dataloader())
    for batch, same_batch in zip(without_workers, with_workers, strict=True):
        for key in ("image", "semantic", "instance"):
            assert torch.equal(batch[key], same_batch[key])


def test_copy_paste_without_things_says_what_to_choose(tmp_path, presets):
    stuff = Categories([category for category in CATEGORIES if not category.isthing])
    labels = [Panoptic.from_ids(np.full(SIZE, 1, np.int32), {1: stuff.ids[0].item()})] * 2
    write_split(tmp_path / "train", labels, categories=stuff, images=True)
    with pytest.raises(ValueError, match="only stuff - choose another augment"):
        module(tmp_path, presets["copy_paste"]).train_dataloader()
