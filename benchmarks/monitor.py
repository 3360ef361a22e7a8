"""Does `maskmill monitor` find planted drift, and are its scores without labels right?

python benchmarks/monitor.py out/train    (a model of the embedded scenes; 5 CPU minutes)

Draws scenes that no training saw: three clean draws and eleven changed ones, 200 scenes each. For
each it prints the features that drifted, and the estimated and the true score. --seed draws others.
The last line counts the scores that are within 3 points or in their interval.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from maskmill.assembly.model_loading import load_model
from maskmill.canonical.categories import Categories
from maskmill.data.targets import encode_targets
from maskmill.evaluation.monitoring import compare_with_reference
from maskmill.evaluation.outcomes import Outcomes
from maskmill.evaluation.reference import label_observation, observed, read_reference
from maskmill.serving.model_files import REFERENCE
from maskmill.sources import scene_painter
from maskmill.sources.class_maps import panoptic_from_instances

STREAM = 2  # of the test split


@dataclass(frozen=True)
class Draw:
    """200 scenes: a number, a change of each image, and which of more scenes are taken."""

    name: str
    number: int
    change: Callable[[np.ndarray], np.ndarray] = lambda image: image
    resize: float = 1.0
    rank: Callable[[scene_painter.Scene], float] | None = None


def scaled(factor, offset=0.0):
    return lambda image: np.clip(image * factor + offset, 0, 255).astype(np.uint8)


def blurred(sigma):
    return lambda image: cv2.GaussianBlur(image, (0, 0), sigma)


def noisy(std):
    def change(image):
        noise = np.random.default_rng(int(image.sum())).normal(0, std, image.shape)
        return np.clip(image + noise, 0, 255).astype(np.uint8)

    return change


def jpeg(quality):
    def change(image):
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return cv2.imdecode(data, cv2.IMREAD_COLOR)

    return change


def num_things(scene):
    return float(scene.instances.max())


DRAWS = [
    Draw("clean 1", 1),
    Draw("clean 2", 2),
    Draw("clean 3", 3),
    Draw("brightness x 0.75", 4, scaled(0.75)),
    Draw("brightness x 0.5", 5, scaled(0.5)),
    Draw("blur, sigma 0.8 px", 6, blurred(0.8)),
    Draw("blur, sigma 1.5 px", 7, blurred(1.5)),
    Draw("crowded scenes", 8, rank=lambda scene: -num_things(scene)),
    Draw("empty scenes", 9, rank=num_things),
    Draw("size x 0.75", 10, resize=0.75),
    Draw("size x 1.5", 11, resize=1.5),
    Draw("noise, std 15", 12, noisy(15)),
    Draw("JPEG, quality 10", 13, jpeg(10)),
    Draw("haze", 14, scaled(0.6, 80)),
]


def scenes_of(draw: Draw, seed: int, num_scenes: int) -> Iterator[scene_painter.Scene]:
    seed += draw.number
    if draw.rank is None:
        for index in range(num_scenes):
            yield scene_painter.paint(seed, STREAM, index)
        return
    drawn = [scene_painter.paint(seed, STREAM, index) for index in range(2 * num_scenes)]
    yield from sorted(drawn, key=draw.rank)[:num_scenes]


def labelled_scenes(draw: Draw, seed: int, num_scenes: int, categories: Categories):
    """Images and labels."""
    for scene in scenes_of(draw, seed, num_scenes):
        height, width = scene.classes.shape
        size = (round(width * draw.resize), round(height * draw.resize))
        image = draw.change(cv2.resize(scene.image, size, interpolation=cv2.INTER_AREA))
        classes = cv2.resize(scene.classes, size, interpolation=cv2.INTER_NEAREST)
        instances = cv2.resize(
            scene.instances.astype(np.int32), size, interpolation=cv2.INTER_NEAREST
        )
        target = panoptic_from_instances(
            classes, instances, categories, void_ids=[scene_painter.VOID]
        )
        yield image, target


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=100)
    arguments = parser.parse_args()
    model = load_model(arguments.model, device="cpu")
    categories = model.files.categories
    reference = read_reference(Path(arguments.model) / REFERENCE, digest=model.files.reference)
    print("| draw | drifted features | " + " | ".join(reference.scores) + " |")
    print("|---|---|" + "---|" * len(reference.scores))
    errors = []
    num_close = num_covered = 0
    for draw in DRAWS:
        labelled = []
        for image, target in labelled_scenes(draw, arguments.seed, arguments.scenes, categories):
            (pred,) = model.predictor([image])
            classes, _ = encode_targets(target, categories)
            labelled.append(label_observation(image, pred, target, classes, categories))
        found = compare_with_reference(reference, observed(labelled), categories, num_listed=50)
        true = Outcomes(labelled, categories).scores()
        names = [f"{row.feature} ({row.effect:.2f})" for row in found.drifted]
        cells = [draw.name, ", ".join(names[:5]) or "none"]
        for row in found.estimates:
            value, low, high = (100 * number for number in (row.value, row.low, row.high))
            score = 100 * true[row.score]
            is_close = abs(value - score) <= 3
            is_covered = low <= score <= high
            errors.append(abs(value - score))
            num_close += is_close
            num_covered += is_covered
            mark = "" if is_close or is_covered else " MISSED"
            cells.append(f"{value:.1f} ({low:.1f}-{high:.1f}), true {score:.1f}{mark}")
        print("| " + " | ".join(cells) + " |", flush=True)
    print(
        f"{len(errors)} scores: mean error {np.mean(errors):.1f}, largest {max(errors):.1f}; "
        f"{num_close} within 3 points, {num_covered} in their interval"
    )


if __name__ == "__main__":
    main()
