"""Time of one loader worker, compared with a lower bound and with the usual recipe.

Also compares shards with files. Run by hand on CamVid or any folder with its layout:

    python benchmarks/loading.py CAMVID_FOLDER [--images 64] [--rounds 5]

Every candidate makes batches of eight from the same files, in this process, without OpenCV's own
threads, as in a worker. Large images are tiled small ones. Rounds are interleaved and medians of
processor time are compared, so that other processes on the machine have little effect.

floor   OpenCV decodes, crops the window first, and applies one colour matrix; all is uint8
ours    SegmentationDataset with the transforms of conf/augment/crop_flip
peers   the same transforms, then albumentations' float32 normalisation and int64 classes, from a
        gray PNG of classes
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import albumentations
import cv2
import numpy as np
import torch

from maskmill.canonical.categories import Categories, Category, color_of
from maskmill.canonical.files import write_json
from maskmill.canonical.folder import ImageRecord, write_index, write_panoptic
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import encode_png, read_rgb
from maskmill.data.dataset import SegmentationDataset, collate
from maskmill.data.sampling import Draw
from maskmill.data.sharding import write_shards
from maskmill.data.splits import open_split
from maskmill.data.stores import open_store
from maskmill.data.transforms import Augmentation

BATCH = 8
CATEGORIES = Categories([Category(key, str(key), False, color_of(key)) for key in range(11)])
SIZES = {
    "480x360 -> 320x320": ((360, 480), (320, 320)),
    "2048x1024 -> 1024x512": ((1024, 2048), (512, 1024)),
}


def tiled(array, size):
    """Tile and crop to a size: large, and as slow to decode as the original per pixel."""
    repeats = [-(-want // have) for want, have in zip(size, array.shape[:2], strict=True)]
    return np.ascontiguousarray(
        np.tile(array, [*repeats, *[1] * (array.ndim - 2)])[: size[0], : size[1]]
    )


def write_folders(camvid, root, number, size):
    """Write the images as PNG and as JPEG, with panoptic labels and, for peers, class PNGs."""
    paths = sorted((camvid / "train").glob("*.png"))[:number]
    for kind in ("png", "jpg"):
        folder, records, rows = root / kind / "train", [], []
        for index, path in enumerate(paths):
            image = tiled(read_rgb(path), size)
            classes = tiled(
                cv2.imread(str(camvid / "trainannot" / path.name), cv2.IMREAD_UNCHANGED), size
            )
            ids = np.where(classes == 11, 0, classes.astype(np.int32) + 1)
            record = ImageRecord(index, f"{index:04}.{kind}", *size)
            (folder / "images").mkdir(parents=True, exist_ok=True)
            (folder / "classes").mkdir(parents=True, exist_ok=True)
            if kind == "png":
                (folder / "images" / record.file_name).write_bytes(encode_png(image))
            else:
                cv2.imwrite(
                    str(folder / "images" / record.file_name),
                    image[..., ::-1],
                    [cv2.IMWRITE_JPEG_QUALITY, 95],
                )
            (folder / "classes" / f"{index:04}.png").write_bytes(encode_png(classes))
            rows.append(
                write_panoptic(
                    folder, record, Panoptic.from_ids(ids, {key + 1: key for key in range(11)})
                )
            )
            records.append(record)
        write_index(folder, CATEGORIES, records, rows)


def transforms(size):
    """As in conf/augment/crop_flip."""
    return [
        albumentations.RandomResizedCrop(
            size, scale=(0.4, 1.0), ratio=(1.2, 2.2), mask_interpolation=0
        ),
        albumentations.HorizontalFlip(p=0.5),
        albumentations.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02, p=0.5),
    ]


class Floor:
    """A lower bound: two decodings, one window, one colour matrix."""

    def __init__(self, folder, size):
        self.images = sorted((folder / "images").iterdir())
        self.labels = sorted((folder / "panoptic").iterdir())
        self.size = size
        self.lut = np.array([255, *range(11), *[255] * 244], np.uint8)

    def window(self, random, height, width):
        area = height * width * random.uniform(0.4, 1.0)
        ratio = np.exp(random.uniform(np.log(1.2), np.log(2.2)))
        w = min(width, round(np.sqrt(area * ratio)))
        h = min(height, round(np.sqrt(area / ratio)))
        y = random.integers(0, height - h + 1)
        x = random.integers(0, width - w + 1)
        return slice(y, y + h), slice(x, x + w)

    def __getitem__(self, draw):
        random = np.random.default_rng((0, draw.epoch, draw.sample))
        image = cv2.imdecode(np.fromfile(self.images[draw.sample], np.uint8), cv2.IMREAD_COLOR)
        labels = cv2.imdecode(np.fromfile(self.labels[draw.sample], np.uint8), cv2.IMREAD_UNCHANGED)
        window = self.window(random, *image.shape[:2])
        image = cv2.resize(image[window], self.size[::-1], interpolation=cv2.INTER_LINEAR)
        classes = cv2.resize(
            np.ascontiguousarray(labels[window][..., 2]),
            self.size[::-1],
            interpolation=cv2.INTER_NEAREST,
        )
        if random.random() < 0.5:
            image, classes = cv2.flip(image, 1), cv2.flip(classes, 1)
        if random.random() < 0.5:
            matrix = np.eye(3)[::-1] * random.uniform(0.8, 1.2) + random.uniform(
                -0.05, 0.05, (3, 3)
            )
            image = cv2.transform(image, matrix)
        planes = cv2.split(image)
        return {
            "image": torch.from_numpy(np.stack(planes)),
            "semantic": torch.from_numpy(self.lut[classes]),
        }


class Peers:
    """The usual recipe: albumentations to a normalised float32 image and int64 classes."""

    def __init__(self, folder, size):
        self.images = sorted((folder / "images").iterdir())
        self.labels = sorted((folder / "classes").iterdir())
        self.compose = albumentations.Compose(
            [*transforms(size), albumentations.Normalize(), albumentations.ToTensorV2()]
        )

    def __getitem__(self, draw):
        image = cv2.cvtColor(cv2.imread(str(self.images[draw.sample])), cv2.COLOR_BGR2RGB)
        mask = cv2.imread(str(self.labels[draw.sample]), cv2.IMREAD_UNCHANGED)
        moved = self.compose(image=image, mask=mask)
        return {"image": moved["image"], "semantic": moved["mask"].long()}


def stacked(samples):
    return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}


def sharded(root, size):
    """The dataset over shards that hold the files' bytes, and over shards of decoded arrays."""
    write_json(root / "dataset.json", {"splits": {"train": {}}})
    datasets = {}
    for who, decoded in (("ours, shards", False), ("ours, decoded shards", True)):
        write_shards(root, open_store(root / who), shard_bytes=64_000_000, decoded=decoded)
        dataset = SegmentationDataset(
            open_split(root / who, "train"), augmentation=Augmentation(transforms(size))
        )
        datasets[who] = (dataset, collate)
    return datasets


def seconds(dataset, batch, number, epoch):
    start = time.process_time()
    for first in range(0, number, BATCH):
        indices = range(first, min(first + BATCH, number))
        batch([dataset[Draw(index, epoch)] for index in indices])
    return time.process_time() - start


def compare(name, contenders, number, rounds):
    """Interleaved rounds; medians, and each against the first."""
    times = {who: [] for who in contenders}
    for epoch in range(rounds):
        for who, (dataset, batch) in contenders.items():
            times[who].append(seconds(dataset, batch, number, epoch))
    medians = {who: statistics.median(values) / number for who, values in times.items()}
    floor = next(iter(medians.values()))
    for who, value in medians.items():
        print(
            f"{name:<26}{who:<22}{1e3 * value:8.2f} ms{1 / value:9.1f} images/s"
            f"{value / floor:7.2f} x floor",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("camvid", type=Path)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    for name, (size, crop) in SIZES.items():
        with tempfile.TemporaryDirectory() as temporary:
            number = options.images if size[0] < 1000 else options.images // 4
            write_folders(options.camvid, Path(temporary), number, size)
            for kind in ("png", "jpg"):
                folder = Path(temporary) / kind / "train"
                contenders = {
                    "floor": (Floor(folder, crop), stacked),
                    "ours": (
                        SegmentationDataset(
                            open_split(folder.parent, "train"),
                            augmentation=Augmentation(transforms(crop)),
                        ),
                        collate,
                    ),
                    "peers": (Peers(folder, crop), stacked),
                }
                contenders |= sharded(folder.parent, crop) if kind == "png" else {}
                compare(f"{kind} {name}", contenders, number, options.rounds)


if __name__ == "__main__":
    main()
