"""Post-processing: our time against the usual implementations, one thread by default.

    python benchmarks/grouping.py [--threads 1] [--rounds 5]

Panoptic-DeepLab's grouping is compared with a plain implementation of the published one: the
distance of every pixel to every centre, then a loop over instances and a loop over stuff classes.
Mask classification is compared with transformers' `post_process_panoptic_segmentation`. Scenes are
generated: bands of stuff, boxes of things, and noise on every output. Rounds alternate, and the
best of each is compared. The share of pixels with the same class and the numbers of segments show
that both give the same result. (transformers decides at 384 x 384 px and enlarges the result, so
edges differ.)
"""

import argparse
import time
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F
from transformers import Mask2FormerImageProcessor

from maskmill.canonical.categories import Categories, Category, color_of
from maskmill.losses.mask_classification import segments_of
from maskmill.losses.panoptic_deeplab import center_targets
from maskmill.postprocess.mask_classification import PanopticMasks
from maskmill.postprocess.panoptic import PanopticGrouping
from maskmill.postprocess.torch_network import as_arrays

# The classes of Cityscapes and the queries of Mask2Former
NUM_STUFF = 11
NUM_THINGS = 8
NUM_CLASSES = NUM_STUFF + NUM_THINGS
NUM_QUERIES = 100
CATEGORIES = Categories(
    [Category(key, f"class {key}", key >= NUM_STUFF, color_of(key)) for key in range(NUM_CLASSES)]
)
SIZES = {(480, 640): 15, (1024, 2048): 40}  # size -> number of things in the scene
GROUPING = {
    "threshold": 0.1,
    "nms_kernel": 7,
    "top_k": 200,
    "min_area_px": 0,
    "stuff_area_px": 2048,
}


class Result(NamedTuple):
    """A category map (H, W) and the number of segments."""

    category_map: np.ndarray
    num_segments: int


def draw_scene(size, num_things, seed=0):
    """Class indices (1, H, W) and instance ids (1, H, W) of bands of stuff with boxes on them."""
    random = np.random.default_rng(seed)
    height, width = size
    band_of_row = np.arange(height) * 6 // height
    semantic = np.repeat(band_of_row, width).reshape(size).astype(np.uint8)
    instance = np.zeros(size, np.int32)
    for instance_id in range(1, num_things + 1):
        box_height = random.integers(height // 16, height // 5)
        box_width = random.integers(width // 24, width // 8)
        y = random.integers(0, height - box_height)
        x = random.integers(0, width - box_width)
        box = (slice(y, y + box_height), slice(x, x + box_width))
        instance[box] = instance_id
        semantic[box] = random.integers(NUM_STUFF, NUM_CLASSES)
    return torch.from_numpy(semantic)[None], torch.from_numpy(instance)[None]


def deeplab_outputs(semantic, instance):
    """Noisy outputs of Panoptic-DeepLab for a scene."""
    targets = center_targets(instance, sigma_px=8.0)
    one_hot = F.one_hot(semantic.long(), NUM_CLASSES).permute(0, 3, 1, 2).float()
    return {
        "semantic": 4 * one_hot + torch.randn_like(one_hot),
        "center": targets.heatmap,
        "offset": targets.offset + torch.randn_like(targets.offset),
    }


def query_outputs(semantic, instance):
    """Noisy outputs of a mask classification network for a scene."""
    segments = segments_of(semantic, instance, separate_things=True)
    num_segments = segments.classes.shape[1]
    of_pixel = segments.of_pixel[:, 2::4, 2::4]  # (1, H/4, W/4)
    is_inside = of_pixel == torch.arange(num_segments)[:, None, None]  # (N, H/4, W/4)
    mask_logits = torch.full((1, NUM_QUERIES, *of_pixel.shape[1:]), -8.0)
    mask_logits[0, :num_segments] = torch.where(is_inside, 8.0, -8.0)
    is_class = torch.arange(NUM_CLASSES + 1) == segments.classes[0][:, None]  # (N, K + 1)
    class_logits = torch.full((1, NUM_QUERIES, NUM_CLASSES + 1), -5.0)
    class_logits[..., -1] = 5.0
    class_logits[0, :num_segments] = torch.where(is_class, 5.0, -5.0)
    return {
        "class_logits": class_logits,
        "mask_logits": mask_logits + torch.randn_like(mask_logits),
    }


def find_peaks(center):
    """Positions (N, 2) of the centres, the highest first."""
    kernel = GROUPING["nms_kernel"]
    pooled = F.max_pool2d(center, kernel, stride=1, padding=kernel // 2)
    is_peak = (center == pooled) & (center > GROUPING["threshold"])
    peaks = is_peak[0, 0].nonzero()
    order = center[0, 0][peaks[:, 0], peaks[:, 1]].argsort(descending=True)
    return peaks[order][: GROUPING["top_k"]].float()


def group_plainly(outputs):
    """The published post-processing (Cheng et al., arXiv:1911.10194, and its code).

    All distances, then one instance and one class at a time.
    """
    classes = outputs["semantic"][0].softmax(dim=0).argmax(dim=0)  # (H, W)
    peaks = find_peaks(outputs["center"])
    height, width = classes.shape
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    points = torch.stack([y, x]).float() + outputs["offset"][0]  # (2, H, W)
    nearest = []
    for chunk in points.view(2, -1).T.split(2**16):
        distance = torch.norm(peaks[:, None] - chunk[None], dim=-1)  # (N, pixels)
        nearest.append(distance.argmin(dim=0))
    instance = (torch.cat(nearest) + 1).view(classes.shape) * (classes >= NUM_STUFF)
    panoptic = torch.zeros_like(classes)
    category_map = torch.full_like(classes, -1)
    num_segments = 0
    for instance_id in instance.unique().tolist():
        if instance_id:
            num_segments += 1
            mask = instance == instance_id
            panoptic[mask] = num_segments
            category_map[mask] = classes[mask].mode().values
    for class_index in classes.unique().tolist():
        mask = (classes == class_index) & (instance == 0)
        if class_index < NUM_STUFF and mask.sum() >= GROUPING["stuff_area_px"]:
            num_segments += 1
            panoptic[mask] = num_segments
            category_map[mask] = class_index
    return Result(category_map.numpy(), num_segments)


def postprocess_by_transformers(outputs, size, processor):
    library_outputs = SimpleNamespace(
        class_queries_logits=outputs["class_logits"], masks_queries_logits=outputs["mask_logits"]
    )
    (result,) = processor.post_process_panoptic_segmentation(
        library_outputs,
        threshold=0.8,
        overlap_mask_area_threshold=0.8,
        label_ids_to_fuse=set(range(NUM_STUFF)),
        target_sizes=[size],
    )
    category_of = {info["id"]: info["label_id"] for info in result["segments_info"]}
    table = np.full(max(category_of, default=0) + 1, -1)
    for segment_id, category_id in category_of.items():
        table[segment_id] = category_id
    return Result(table[result["segmentation"].numpy()], len(category_of))


def postprocess_by_maskmill(postprocess, outputs, size):
    (prediction,) = postprocess(as_arrays(outputs), [size])
    return Result(prediction.panoptic.category_map(), len(prediction.panoptic.segments))


def time_best_round(functions, num_rounds):
    """The least seconds and the result of each function, by name."""
    seconds = dict.fromkeys(functions, float("inf"))
    results = {}
    for _ in range(num_rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            results[name] = function()
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds, results


def print_row(name, size, functions, num_rounds):
    with torch.inference_mode():
        seconds, results = time_best_round(functions, num_rounds)
    usual = results["usual"]
    ours = results["ours"]
    same_class = np.mean(usual.category_map == ours.category_map)
    print(
        f"| {name} | {size[0]} x {size[1]} "
        f"| {1e3 * seconds['usual']:.0f} | {1e3 * seconds['ours']:.0f} "
        f"| {seconds['usual'] / seconds['ours']:.1f} | {same_class:.4f} "
        f"| {usual.num_segments}, {ours.num_segments} |",
        flush=True,
    )


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
    print("| what | size | usual ms | ours ms | ratio | same class | segments |")
    print("|---|---|---|---|---|---|---|")
    for size, num_things in SIZES.items():
        semantic, instance = draw_scene(size, num_things)
        deeplab = deeplab_outputs(semantic, instance)
        queries = query_outputs(semantic, instance)
        functions = {
            "usual": lambda: group_plainly(deeplab),
            "ours": lambda: postprocess_by_maskmill(grouping, deeplab, size),
        }
        print_row("Panoptic-DeepLab, plain loops", size, functions, options.rounds)
        functions = {
            "usual": lambda: postprocess_by_transformers(queries, size, processor),
            "ours": lambda: postprocess_by_maskmill(masks, queries, size),
        }
        print_row("masks, transformers", size, functions, options.rounds)


if __name__ == "__main__":
    main()
