"""`prepare` and `check` compared to plain loops over the same files, as ratios.

Run it by hand on CamVid, or on any folder in its form:

    python benchmarks/prepare.py CAMVID_FOLDER [--images 1000] [--rounds 3]

The plain loop decodes each image and its labels with Pillow, writes the image's bytes and encodes
the labels as a COCO panoptic PNG with the same encoder and settings: the minimum of any conversion.
Rounds are interleaved, and the best of each is compared. Peak memory is that of all processes
together (PSS, sampled), for a tenth of the images and for all.
"""

import argparse
import shutil
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from maskmill.canonical.files import write_bytes
from maskmill.canonical.png import encode_png, ids_to_rgb
from maskmill.sources.class_masks import ClassMasks
from maskmill.sources.convert import Converter
from maskmill.sources.pairs import FolderPairs


def copy_images(camvid, root, num_images):
    """Copy images and labels to new names.

    Images repeat, but copies and neighbouring frames, which look the same, are in one split.
    """
    paths = sorted((camvid / "train").glob("*.png"))
    for index in range(num_images):
        frame = 37 * index % len(paths)  # a few images are spread over the whole drive
        folder = root / ("train" if frame < 100 else "val")
        for kind in ("images", "labels"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        name = f"{index:05}.png"
        shutil.copyfile(paths[frame], folder / "images" / name)
        shutil.copyfile(camvid / "trainannot" / paths[frame].name, folder / "labels" / name)


def source_of(root):
    rows = [{"id": key, "name": str(key)} for key in range(11)]
    train = FolderPairs("train/images", "train/labels", {"train": 1.0})
    val = FolderPairs("val/images", "val/labels", {"val": 1.0})
    return ClassMasks(root, [train, val], rows, void_ids=[11])


def files_of(root):
    paths = sorted(root.glob("*/images/*.png"))
    return [(path, path.parents[1] / "labels" / path.name) for path in paths]


def plain_conversion(root, out):
    for image, labels in files_of(root):
        data = image.read_bytes()
        np.asarray(Image.open(image).convert("RGB"))
        ids = np.asarray(Image.open(labels)).astype(np.int32) + 1
        write_bytes(out / "images" / image.name, data)
        write_bytes(out / "panoptic" / labels.name, encode_png(ids_to_rgb(ids)))


def plain_reading(root, _):
    for image, labels in files_of(root):
        for path in (image, labels):
            np.asarray(Image.open(path))


def timed(work, *arguments):
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def peak_mb(work):
    """The largest memory of all processes together while `work` runs."""
    done = threading.Event()
    peak = 0

    def watch():
        nonlocal peak
        me = psutil.Process()
        while not done.wait(0.1):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
            peak = max(peak, total)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        work()
    finally:
        done.set()
        thread.join()
    return peak / 1e6


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("camvid", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "raw"
        few = Path(temporary) / "few"
        copy_images(options.camvid, root, options.images)
        copy_images(options.camvid, few, options.images // 10)
        out = Path(temporary) / "out"
        works = {
            "plain conversion": lambda: plain_conversion(root, out / "plain"),
            "prepare, 1 worker": lambda: Converter(out / "one", workers=1).convert(source_of(root)),
            "prepare, 2 workers": lambda: Converter(out / "two", workers=2).convert(
                source_of(root)
            ),
            "plain reading": lambda: plain_reading(root, None),
            "check, 1 worker": lambda: Converter(out / "check", workers=1).check(source_of(root)),
            "check, 2 workers": lambda: Converter(out / "check", workers=2).check(source_of(root)),
        }
        best = dict.fromkeys(works, float("inf"))
        for _ in range(options.rounds):
            for name, work in works.items():
                best[name] = min(best[name], timed(work))
        for name, seconds in best.items():
            is_reading = "check" in name or "reading" in name
            plain = best["plain reading" if is_reading else "plain conversion"]
            speed = options.images / seconds
            ratio = seconds / plain
            print(f"{name:<20} {seconds:7.2f} s  {speed:7.1f} images/s  {ratio:5.2f} x plain")
        cached = Converter(out / "cached", workers=2, cache=out / "cache")
        cached.convert(source_of(root))
        again = timed(cached.convert, source_of(root))
        ratio = again / best["plain conversion"]
        print(f"prepare again, nothing changed: {again:.2f} s, {ratio:.2f} x plain conversion")
        for folder in (few, root):
            num_images = len(files_of(folder))
            converter = Converter(out / f"memory{num_images}", workers=2)
            peak = peak_mb(lambda: converter.convert(source_of(folder)))
            print(f"peak memory of prepare, 2 workers, {num_images:>5} images: {peak:.0f} MB")


if __name__ == "__main__":
    main()
