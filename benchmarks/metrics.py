"""Our metrics against the stock ones on drawn scenes, as ratios; run by hand, on a quiet machine.

    python benchmarks/metrics.py [--rounds 9] [--images 200]

One thread, everything in memory. Rounds are interleaved, so that a busy machine slows all alike,
and medians are compared. Each result is checked against ours before anything is timed, where both
count the same thing. The parts:
  PQ    one image of 20 and of 60 segments at 480 x 640 and at 1024 x 2048, ids small (1, 2, ...)
        and as COCO's colours (24 bits), against torchmetrics' PanopticQuality, a plain reading of
        panopticapi's published algorithm, and one pass over both maps (the maximum of each: memory
        is read once, nothing is written); ours and the pass also with the maps in memory and not
        in a cache
  mIoU  the same scenes as uint8 class maps of 19 classes, against torchmetrics'
        MulticlassJaccardIndex, with and without its validation
  AP    15 predictions and as many true things on each of 200 images, as run-length codes, against
        pycocotools and, where it is installed (pip install faster-coco-eval), faster-coco-eval
"""

import argparse
import contextlib
import copy
import io
import os
import statistics
import time

os.environ.update(
    dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
)  # before numpy and torch

import cv2
import numpy as np
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchmetrics.classification import MulticlassJaccardIndex
from torchmetrics.detection import PanopticQuality

from maskmill.canonical.categories import IGNORE_INDEX, Categories, Category
from maskmill.canonical.panoptic import Panoptic
from maskmill.metrics.functional.confusion_matrix import index_confusion, semantic_scores
from maskmill.metrics.functional.mask_ap import coco_results, mask_ap
from maskmill.metrics.functional.panoptic_quality import match_segments, panoptic_scores

NUM_STUFF, NUM_CLASSES = 4, 19
TABLE = Categories(
    [
        Category(place, f"class {place}", place >= NUM_STUFF, (place, 0, 0))
        for place in range(NUM_CLASSES)
    ]
)
SIZES = ((480, 640), (1024, 2048))


def draw(height, width, number, random):
    """A scene of `number` segments: smooth stuff regions, round things with a wavy outline on them,
    void at the top; ids 1..number.
    """
    noise = random.standard_normal((NUM_STUFF, height // 32, width // 32)).astype(np.float32)
    fields = [
        cv2.resize(
            cv2.GaussianBlur(one, (0, 0), 1.5), (width, height), interpolation=cv2.INTER_CUBIC
        )
        for one in noise
    ]
    ids = 1 + np.argmax(fields, axis=0).astype(np.int32)
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    for segment_id in range(NUM_STUFF + 1, number + 1):
        radius = (
            random.uniform(0.02, 0.12)
            * height
            * (1 + 0.25 * np.sin(3 * angle + random.uniform(0, 6)))
        )
        outline = np.stack(
            [
                random.uniform(0, width) + radius * np.cos(angle),
                random.uniform(0, height) + radius * np.sin(angle),
            ],
            axis=1,
        )
        cv2.fillPoly(ids, [outline.astype(np.int32)], segment_id)
    ids[: height // 40] = 0
    return ids


def perturbed(ids, random):
    """A prediction: the same segments with their outlines moved by a few pixels."""
    height, width = ids.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    for axis in (x, y):
        axis += 4 * cv2.resize(
            random.standard_normal((height // 24, width // 24)).astype(np.float32), (width, height)
        )
    return cv2.remap(
        ids.astype(np.float32), x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.int32)


def category_of(number):
    return {
        key: key - 1 if key <= NUM_STUFF else NUM_STUFF + key % (NUM_CLASSES - NUM_STUFF)
        for key in range(1, number + 1)
    }


def pair(height, width, number, random, *, colours=False):
    """Prediction and truth."""
    truth = draw(height, width, number, random)
    names = (
        random.permutation(2**24 - 1)[: number + 1].astype(np.int32) + 1
        if colours
        else np.arange(number + 1, dtype=np.int32)
    )
    names[0] = 0
    table = {int(names[key]): value for key, value in category_of(number).items()}
    return tuple(Panoptic.from_ids(names[ids], table) for ids in (perturbed(truth, random), truth))


def as_panopticapi(pred, target):
    """PQ of one image as COCO's panopticapi describes it: unique pairs of ids, then loops over
    dictionaries.
    """
    offset = 256**3
    true_rows = {segment.id: segment for segment in target.segments}
    pred_rows = {segment.id: segment for segment in pred.segments}
    areas = [
        dict(zip(*(part.tolist() for part in np.unique(ids, return_counts=True)), strict=True))
        for ids in (pred.ids, target.ids)
    ]
    codes, counts = np.unique(
        target.ids.astype(np.uint64) * offset + pred.ids.astype(np.uint64), return_counts=True
    )
    shared = {
        (int(code // offset), int(code % offset)): int(count)
        for code, count in zip(codes, counts, strict=True)
    }
    total = np.zeros((NUM_CLASSES, 4))
    hit_true, hit_pred = set(), set()
    for (true, guess), both in shared.items():
        if (
            true in true_rows
            and guess in pred_rows
            and true_rows[true].category_id == pred_rows[guess].category_id
        ):
            iou = both / (areas[0][guess] + areas[1][true] - both - shared.get((0, guess), 0))
            if iou > 0.5:
                total[TABLE.index[true_rows[true].category_id]] += [iou, 1, 0, 0]
                hit_true.add(true)
                hit_pred.add(guess)
    for true, row in true_rows.items():
        total[TABLE.index[row.category_id], 3] += true not in hit_true
    for guess, row in pred_rows.items():
        if guess not in hit_pred and shared.get((0, guess), 0) / areas[0][guess] <= 0.5:
            total[TABLE.index[row.category_id], 2] += 1
    return total


def timed(works, rounds):
    """Median seconds of each, in turns: once a turn what is slow, and what is fast as often as fits
    into 20 ms.
    """
    seconds = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times = int(min(25, max(1, 0.02 / seconds[name][0]))) if seconds[name] else 1
            for _ in range(times):
                start = time.perf_counter()
                work()
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def from_memory(works, rounds):
    """`timed`, but before each call so much else is written that no cache holds anything of the
    maps, nor of the program.
    """
    elsewhere, seconds = np.zeros(2**27, np.uint8), {name: [] for name in works}
    for _ in range(10 * rounds):
        for name, work in works.items():
            elsewhere += 1
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def show(title, medians):
    """All in milliseconds, and as multiples of ours."""
    ours = medians["ours"]
    print(f"{title}: ours {1000 * ours:.2f} ms")
    for name, seconds in medians.items():
        if name != "ours":
            print(f"    {name:<44} {1000 * seconds:9.3f} ms   {seconds / ours:8.3f} x ours")


def stock_tensors(panoptic):
    classes = panoptic.category_map()
    void = NUM_CLASSES  # torchmetrics takes a category it does not know for void, of the truth too
    return torch.from_numpy(
        np.stack([np.where(classes < 0, void, classes), panoptic.ids], axis=-1)
    )[None]


def panoptic_quality(rounds, random):
    for height, width in SIZES:
        for number in (20, 60):
            for colours in (False, True):
                pred, target = pair(height, width, number, random, colours=colours)
                stock = PanopticQuality(
                    things=set(range(NUM_STUFF, NUM_CLASSES)),
                    stuffs=set(range(NUM_STUFF)),
                    allow_unknown_preds_category=True,
                )
                tensors = stock_tensors(pred), stock_tensors(target)
                ours = match_segments(pred, target, TABLE, background=False)
                np.testing.assert_allclose(
                    ours[:, :4], as_panopticapi(pred, target), rtol=0, atol=1e-12
                )
                works = {
                    "ours": lambda: panoptic_scores(
                        match_segments(pred, target, TABLE, background=False), TABLE
                    ),
                    "one pass over both maps": lambda: (pred.ids.max(), target.ids.max()),
                    "panopticapi's algorithm, read plainly": lambda: as_panopticapi(pred, target),
                }
                if not colours:
                    works["torchmetrics PanopticQuality"] = lambda: stock(*tensors)
                ids = "24-bit" if colours else "small"
                title = f"PQ {height} x {width}, {number} segments, {ids} ids"
                show(title, timed(works, rounds))
                show(
                    f"{title}, from memory",
                    from_memory(
                        {name: works[name] for name in ("ours", "one pass over both maps")}, rounds
                    ),
                )


def mean_iou(rounds, random):
    for height, width in SIZES:
        pred, target = pair(height, width, 60, random)
        maps = [
            np.where(one.category_map() < 0, IGNORE_INDEX, one.category_map()).astype(np.uint8)
            for one in (pred, target)
        ]
        maps[0][maps[0] == IGNORE_INDEX] = 0  # torchmetrics has no pixel without a prediction
        tensors = [torch.from_numpy(one) for one in maps]
        works = {
            "ours": lambda: semantic_scores(
                index_confusion(maps[0], maps[1], NUM_CLASSES), background=False
            )
        }
        for name, validate in (("as it comes", True), ("validate_args=False", False)):
            stock = MulticlassJaccardIndex(
                NUM_CLASSES, ignore_index=IGNORE_INDEX, validate_args=validate
            )
            works[f"torchmetrics MulticlassJaccardIndex, {name}"] = lambda stock=stock: stock(
                *tensors
            )
            assert (
                abs(float(stock(*tensors)) - works["ours"]()["mIoU"]) < 1e-6
            )  # theirs is a float32
        works["one pass over both maps"] = lambda: (maps[0].max(), maps[1].max())
        show(f"mIoU {height} x {width}, {NUM_CLASSES} classes, uint8", timed(works, rounds))


def objects(images, random):
    """COCO ground truth and results: 15 things an image, as many predictions of random score."""
    annotations, results = [], []
    for image_id in range(1, images + 1):
        pred, target = pair(480, 640, NUM_STUFF + 15, random)
        for row in coco_results(target, TABLE):
            area = float(coco_mask.area(row["segmentation"]))
            annotations.append(
                {
                    **row,
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "area": area,
                    "iscrowd": 0,
                    "bbox": [0, 0, 1, 1],
                }
            )
        results += [
            {**row, "image_id": image_id, "score": float(random.uniform())}
            for row in coco_results(pred, TABLE)
        ]
    images_of_truth = [
        {"id": image_id, "height": 480, "width": 640} for image_id in range(1, images + 1)
    ]
    return {
        "images": images_of_truth,
        "annotations": annotations,
        "categories": TABLE.as_list(),
    }, results


def official(truth, results, kind, evaluator_kind):
    """The twelve numbers by an evaluator of pycocotools' form."""
    with contextlib.redirect_stdout(io.StringIO()):
        target = kind()
        target.dataset = truth
        target.createIndex()
        evaluator = evaluator_kind(target, target.loadRes(results), "segm")
        for step in (evaluator.evaluate, evaluator.accumulate, evaluator.summarize):
            step()
    return [float(value) for value in list(evaluator.stats)[:12]]


def average_precision(rounds, images, random):
    truth, results = objects(images, random)
    works = {
        "ours": lambda: list(mask_ap(copy.deepcopy(truth), copy.deepcopy(results)).numbers.values())
    }
    works["pycocotools"] = lambda: official(
        copy.deepcopy(truth), copy.deepcopy(results), COCO, COCOeval
    )  # they write into their input
    with contextlib.suppress(ImportError):
        import faster_coco_eval

        works["faster-coco-eval"] = lambda: official(
            copy.deepcopy(truth),
            copy.deepcopy(results),
            faster_coco_eval.COCO,
            faster_coco_eval.COCOeval_faster,
        )
    for name, work in works.items():
        if name != "ours":
            difference = np.abs(np.nan_to_num(works["ours"](), nan=-1) - work()).max()
            print(f"AP: largest difference to {name} {difference:.1e}")
    works["copying the input (part of all three)"] = lambda: (
        copy.deepcopy(truth),
        copy.deepcopy(results),
    )
    show(
        f"AP of {images} images, {len(truth['annotations'])} true and {len(results)} predicted "
        f"masks",
        timed(works, rounds),
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--images", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    random = np.random.default_rng(0)
    panoptic_quality(options.rounds, random)
    mean_iou(options.rounds, random)
    average_precision(options.rounds, options.images, random)


if __name__ == "__main__":
    main()
