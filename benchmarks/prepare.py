"""`prepare` and `check` against plain loops over the same files, as ratios; run by hand on CamVid or any folder in its form.

    python benchmarks/prepare.py CAMVID_FOLDER [--images 1000] [--rounds 3]

The plain loop decodes each image and its labels with Pillow, writes the image's bytes and encodes the labels as a COCO panoptic PNG
with the same encoder and settings: what no conversion can go without. Rounds are interleaved, the best of each is compared. Peak memory
is that of all processes together (PSS, sampled), for a tenth of the images and for all.
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


def lay_out(camvid, root, number):
    """`number` pairs with names of their own; images repeat, but look-alikes, as copies and neighbouring frames, are all in one split."""
    pairs = [
        (path, camvid / "trainannot" / path.name)
        for path in sorted((camvid / "train").glob("*.png"))
    ]
    for place in range(number):
        frame = 37 * place % len(pairs)  # any few of them are spread over the whole drive
        image, labels = pairs[frame]
        split = "train" if frame < 100 else "val"
        for kind, path in ((f"{split}/images", image), (f"{split}/labels", labels)):
            (root / kind).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, root / kind / f"{place:05}.png")


def source_of(root):
    rows = [{"id": key, "name": str(key)} for key in range(11)]
    pairs = [
        FolderPairs(f"{split}/images", f"{split}/labels", {split: 1.0})
        for split in ("train", "val")
    ]
    return ClassMasks(root, pairs, rows, void_ids=[11])


def files_of(root):
    return [
        (path, path.parents[1] / "labels" / path.name)
        for path in sorted(root.glob("*/images/*.png"))
    ]


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
    """The most memory all processes hold together while `work` runs."""
    done, peak = threading.Event(), 0

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
        root, few = Path(temporary) / "raw", Path(temporary) / "few"
        lay_out(options.camvid, root, options.images)
        lay_out(options.camvid, few, options.images // 10)
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
            floor = best[
                "plain reading" if "check" in name or "reading" in name else "plain conversion"
            ]
            print(
                f"{name:<20} {seconds:7.2f} s  {options.images / seconds:7.1f} images/s  {seconds / floor:5.2f} x plain"
            )
        cached = Converter(out / "cached", workers=2, cache=out / "cache")
        cached.convert(source_of(root))
        again = timed(cached.convert, source_of(root))
        print(
            f"prepare again, nothing changed: {again:.2f} s, {again / best['plain conversion']:.2f} x plain conversion"
        )
        for folder, number in ((few, options.images // 10), (root, options.images)):
            converter = Converter(out / f"memory{number}", workers=2)
            print(
                f"peak memory of prepare, 2 workers, {number:>5} images: {peak_mb(lambda: converter.convert(source_of(folder))):.0f} MB"
            )


if __name__ == "__main__":
    main()
