"""Network outputs to segments: ours against the usual way, as ratios, one thread by default.

    python benchmarks/grouping.py [--threads 1] [--rounds 5]

Panoptic-DeepLab's grouping stands against the published post-processing written out plainly: the distance of every pixel to every
centre, then a loop over the instances and one over the stuff classes. Mask classification stands against transformers' own
`post_process_panoptic_segmentation`. Scenes are drawn: stuff in bands, boxes of things on it, and noise on every output. Rounds are
interleaved and the best of each is compared; the share of pixels of the same class and the numbers of segments say that both did the
same (transformers decides at 384 x 384 px and enlarges that, so edges differ).
"""

import argparse
import time
from types import SimpleNamespace

import numpy as np
import torch
from torch.nn import functional as F
from transformers import Mask2FormerImageProcessor

from maskmill.canonical.categories import Categories, Category, color_of
from maskmill.losses.mask_classification import segments_of
from maskmill.losses.panoptic_deeplab import center_targets
from maskmill.postprocess.mask_classification import PanopticMasks
from maskmill.postprocess.panoptic import PanopticGrouping

NUM_STUFF, NUM_THINGS, NUM_QUERIES = (
    11,
    8,
    100,
)  # the classes of Cityscapes, the queries of Mask2Former
CATEGORIES = Categories(
    [Category(n, f"class {n}", n >= NUM_STUFF, color_of(n)) for n in range(NUM_STUFF + NUM_THINGS)]
)
SIZES = {(480, 640): 15, (1024, 2048): 40}  # and how many things lie in the scene
GROUPING = {
    "threshold": 0.1,
    "nms_kernel": 7,
    "top_k": 200,
    "min_area_px": 0,
    "stuff_area_px": 2048,
}


def scene(size, num_things):
    """Classes (H, W) and thing numbers (H, W) of bands of stuff with boxes on them."""
    random = np.random.default_rng(0)
    height, width = size
    semantic = np.repeat(np.arange(height) * 6 // height, width).reshape(size).astype(np.uint8)
    instance = np.zeros(size, np.int32)
    for number in range(1, num_things + 1):
        tall, wide = (
            random.integers(height // 16, height // 5),
            random.integers(width // 24, width // 8),
        )
        y, x = random.integers(0, height - tall), random.integers(0, width - wide)
        instance[y : y + tall, x : x + wide], semantic[y : y + tall, x : x + wide] = (
            number,
            random.integers(NUM_STUFF, len(CATEGORIES)),
        )
    return torch.from_numpy(semantic)[None], torch.from_numpy(instance)[None]


def deeplab_outputs(semantic, instance):
    targets = center_targets(instance, sigma_px=8.0)
    one_hot = F.one_hot(semantic.long(), len(CATEGORIES)).permute(0, 3, 1, 2).float()
    return {
        "semantic": 4 * one_hot + torch.randn_like(one_hot),
        "center": targets.heatmap,
        "offset": targets.offset + torch.randn_like(targets.offset),
    }


def query_outputs(semantic, instance):
    found = segments_of(semantic, instance, separate_things=True)
    of_pixel = found.of_pixel[:, 2::4, 2::4]
    num = found.classes.shape[1]
    masks = torch.full((1, NUM_QUERIES, *of_pixel.shape[1:]), -8.0)
    masks[0, :num] = torch.where(of_pixel == torch.arange(num)[:, None, None], 8.0, -8.0)
    classes = torch.full((1, NUM_QUERIES, len(CATEGORIES) + 1), -5.0)
    classes[..., -1] = 5.0
    classes[0, :num] = torch.where(
        torch.arange(len(CATEGORIES) + 1) == found.classes[0][:, None], 5.0, -5.0
    )
    return {"class_logits": classes, "mask_logits": masks + torch.randn_like(masks)}


def plain_grouping(outputs):
    """The published way (Cheng et al., arXiv:1911.10194, and its code): all distances, then an instance and a class at a time."""
    classes = outputs["semantic"][0].softmax(dim=0).argmax(dim=0)
    center = outputs["center"]
    pooled = F.max_pool2d(
        center, GROUPING["nms_kernel"], stride=1, padding=GROUPING["nms_kernel"] // 2
    )
    peaks = ((center == pooled) & (center > GROUPING["threshold"]))[0, 0].nonzero()
    order = center[0, 0][peaks[:, 0], peaks[:, 1]].argsort(descending=True)
    peaks = peaks[order][: GROUPING["top_k"]].float()
    y, x = torch.meshgrid(*(torch.arange(side).float() for side in classes.shape), indexing="ij")
    places = torch.stack([y, x]) + outputs["offset"][0]
    places = places.view(2, -1).T  # (H W, 2)
    nearest = (
        torch.cat(
            [
                torch.norm(peaks[:, None] - chunk[None], dim=-1).argmin(dim=0)
                for chunk in places.split(2**16)
            ]
        )
        + 1
    )
    instance = nearest.view(classes.shape) * (classes >= NUM_STUFF)
    panoptic, category_map, number = torch.zeros_like(classes), torch.full_like(classes, -1), 0
    for key in instance.unique().tolist():
        if key:
            number += 1
            mask = instance == key
            kind = classes[mask].mode().values
            panoptic[mask], category_map[mask] = number, kind
    for kind in classes.unique().tolist():
        mask = (classes == kind) & (instance == 0)
        if kind < NUM_STUFF and mask.sum() >= GROUPING["stuff_area_px"]:
            number += 1
            panoptic[mask], category_map[mask] = number, kind
    return category_map.numpy(), number


def library_decoding(outputs, size, processor):
    wrapped = SimpleNamespace(
        class_queries_logits=outputs["class_logits"], masks_queries_logits=outputs["mask_logits"]
    )
    settings = {
        "threshold": 0.8,
        "overlap_mask_area_threshold": 0.8,
        "label_ids_to_fuse": set(range(NUM_STUFF)),
        "target_sizes": [size],
    }
    found = processor.post_process_panoptic_segmentation(wrapped, **settings)[0]
    table = np.full(max((info["id"] for info in found["segments_info"]), default=0) + 1, -1)
    for info in found["segments_info"]:
        table[info["id"]] = info["label_id"]
    return table[found["segmentation"].numpy()], len(
        {info["id"] for info in found["segments_info"]}
    )


def ours(made, outputs, size):
    prediction = made(outputs, [size])[0]
    return prediction.panoptic.category_map(), len(prediction.panoptic.segments)


def best_of(works, rounds):
    best, results = dict.fromkeys(works, float("inf")), {}
    for _ in range(rounds):
        for name, work in works.items():
            start = time.perf_counter()
            results[name] = work()
            best[name] = min(best[name], time.perf_counter() - start)
    return best, results


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    grouping = PanopticGrouping(**GROUPING, categories=CATEGORIES)
    masks = PanopticMasks(
        threshold=0.8, overlap=0.8, min_area_px=0, stuff_area_px=0, categories=CATEGORIES
    )
    processor = Mask2FormerImageProcessor()
    print(
        "| what | size | usual ms | ours ms | ratio | same class | segments |\n|---|---|---|---|---|---|---|"
    )
    for size, num_things in SIZES.items():
        semantic, instance = scene(size, num_things)
        deeplab, queries = deeplab_outputs(semantic, instance), query_outputs(semantic, instance)
        pairs = {
            "Panoptic-DeepLab, plain loops": (
                lambda d=deeplab: plain_grouping(d),
                lambda d=deeplab, s=size: ours(grouping, d, s),
            ),
            "masks, transformers": (
                lambda q=queries, s=size: library_decoding(q, s, processor),
                lambda q=queries, s=size: ours(masks, q, s),
            ),
        }
        for name, (usual, own) in pairs.items():
            with torch.inference_mode():
                seconds, results = best_of({"usual": usual, "ours": own}, options.rounds)
            (theirs, num_theirs), (mine, num_mine) = results["usual"], results["ours"]
            print(
                f"| {name} | {size[0]} x {size[1]} | {1e3 * seconds['usual']:.0f} | {1e3 * seconds['ours']:.0f} "
                f"| {seconds['usual'] / seconds['ours']:.1f} | {np.mean(theirs == mine):.4f} | {num_theirs}, {num_mine} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
