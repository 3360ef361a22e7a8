from collections import Counter

import albumentations as A
import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch

from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.folder import ImageRecord, write_index, write_panoptic
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import write_ids, write_rgb
from maskmill.data.datamodule import SegmentationDataModule
from maskmill.data.dataset import SegmentationDataset, collate
from maskmill.data.splits import open_split
from maskmill.data.transforms import Augmentation
from maskmill.networks.decoders import EncoderDecoder
from maskmill.networks.encoders import TimmEncoder

CATEGORIES = Categories(
    [Category(4, "ground", False, (0, 90, 0)), Category(9, "ball", True, (200, 0, 0))]
)


def write_split(folder, num_images, sizes=((40, 56),)):
    generator = np.random.default_rng(len(folder.name))
    records = []
    annotations = []
    for index in range(num_images):
        height, width = sizes[index % len(sizes)]
        ids = np.full((height, width), 1, np.int32)
        ids[:4] = 0
        ids[10:24, 8:20] = 70_002
        ids[20:33, 25:40] = 70_003
        record = ImageRecord(index + 10, f"{index:03d}.png", height, width)
        write_rgb(
            folder / "images" / record.file_name,
            generator.integers(0, 255, (height, width, 3), np.uint8),
        )
        records.append(record)
        annotations.append(
            write_panoptic(folder, record, Panoptic.from_ids(ids, {1: 4, 70_002: 9, 70_003: 9}))
        )
    write_index(folder, CATEGORIES, records, annotations)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    write_split(root / "train", 5)
    write_split(root / "val", 3, sizes=((40, 56), (33, 47)))
    return root


def module(root, **overrides):
    settings = {"crop_size": (24, 32), "batch_size": 2, "num_workers": 0, "seed": 5}
    augmentation = Augmentation(
        [A.RandomResizedCrop((24, 32), scale=(0.5, 1), mask_interpolation=0)]
    )
    return SegmentationDataModule(str(root), augmentation, **settings | overrides)


def test_a_training_batch_is_uint8_and_of_the_crop_size(root):
    batch = next(iter(module(root).train_dataloader()))
    assert batch["image"].dtype == torch.uint8
    assert batch["image"].shape == (2, 3, 24, 32)
    assert batch["semantic"].dtype == torch.uint8
    assert batch["instance"].dtype == torch.int32
    assert set(batch["semantic"].unique().tolist()) <= {0, 1, 255}
    assert (batch["semantic"][batch["instance"] > 0] == 1).all()


def test_images_are_seen_by_their_area_and_a_repeat_is_another_crop(tmp_path):
    # 30 x 40, 60 x 80 and 120 x 160 px: 1, 4 and 16 of 21 crops, here 1, 4 and 16 of 21 samples
    sizes = ((30, 40), (60, 80), (120, 160))
    write_split(tmp_path / "train", 3, sizes)
    source = module(tmp_path, batch_size=3, area_power=1.0)
    counts = Counter()
    repeats = []
    loader = source.train_dataloader()
    for epoch in range(70):
        loader.sampler.set_epoch(epoch)
        (batch,) = loader
        counts.update(batch["index"])
        largest = [batch["image"][row] for row in range(3) if batch["index"][row] == 2]
        if len(largest) > 1:
            repeats.append(torch.equal(largest[0], largest[1]))
    # by area: 10, 40 and 160 of 210; the rounding has a standard deviation of at most 4 in 70
    assert counts[0] == pytest.approx(10, abs=13)
    assert counts[1] == pytest.approx(40, abs=13)
    assert counts[2] == pytest.approx(160, abs=13)
    assert repeats
    assert not any(repeats)


CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    ],
)


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_images_are_moved_as_bytes_and_normalised_on_the_device(root, device):
    network = EncoderDecoder(TimmEncoder("resnet10t"), smp.FPN, num_classes=2).to(device)
    seen = []
    network.normalise.register_forward_hook(
        lambda _, images, output: seen.append((*images, output))
    )
    source = module(root)
    batch = source.transfer_batch_to_device(
        next(iter(source.train_dataloader())), torch.device(device), 0
    )
    network(batch["image"])
    ((images, output),) = seen
    assert images.dtype == torch.uint8
    assert output.dtype == torch.float32
    assert images.device.type == output.device.type == device


@pytest.mark.slow
def test_the_samples_do_not_depend_on_the_number_of_workers(root):
    without_workers = list(module(root, num_workers=0).train_dataloader())
    with_workers = list(module(root, num_workers=2).train_dataloader())
    assert len(without_workers) == 2  # five images: the last batch would be smaller than two
    for batch, same_batch in zip(without_workers, with_workers, strict=True):
        for key in ("image", "semantic", "instance"):
            assert torch.equal(batch[key], same_batch[key])


def test_validation_keeps_the_ground_truth_at_its_own_size_and_pads_with_unknown(root):
    batch = next(iter(module(root).val_dataloader()))
    assert batch["size"] == [(40, 56), (33, 47)]
    assert [target.size for target in batch["panoptic"]] == batch["size"]
    assert batch["image"].shape == (2, 3, 40, 56)
    assert (batch["semantic"][1, 33:] == 255).all()
    assert (batch["instance"][1, :, 47:] == -1).all()


def test_an_augmentation_of_another_size_is_refused_before_training(root):
    with pytest.raises(ValueError, match=r"crop_size \(48, 48\), but it produces \(24, 32\)"):
        module(root, crop_size=(48, 48)).train_dataloader()


def test_a_missing_split_says_which_stage_writes_it(root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train.*run the previous stage"):
        module(tmp_path).train_dataloader()


def test_labels_of_another_size_than_the_image_are_refused(tmp_path):
    write_split(tmp_path / "train", 1)
    write_rgb(tmp_path / "train" / "images" / "000.png", np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(ValueError, match=r"000\.png: expected 40 x 56 pixels .* but got 10 x 10"):
        SegmentationDataset(open_split(tmp_path, "train"))[0]


def test_samples_of_one_size_are_stacked_without_padding(root):
    dataset = SegmentationDataset(open_split(root, "train"))
    batch = collate([dataset[0], dataset[1]])
    assert torch.equal(batch["image"][1], dataset[1]["image"])


def test_labels_of_an_unknown_segment_name_the_file(tmp_path):
    write_split(tmp_path / "train", 1)
    write_ids(tmp_path / "train" / "panoptic" / "000.png", np.full((40, 56), 5, np.int32))
    with pytest.raises(ValueError, match=r"000\.png of .*panoptic\.json: .* but 5 is missing"):
        module(tmp_path).train_dataloader()
