"""Compute expected.json with the official tools (see README.md).

PYTHONPATH=src:PANOPTICAPI python tests/golden/official.py tests/golden
"""

import sys
from pathlib import Path

import numpy as np
from panopticapi.evaluation import pq_compute
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskmill.canonical.files import write_json


def panoptic(folder: Path, name: str) -> dict[str, object]:
    """What panopticapi computes."""
    target = folder / "target" / "panoptic.json"
    prediction = folder / name / "panoptic.json"
    return dict(pq_compute(str(target), str(prediction)))


def instances(folder: Path, name: str) -> dict[str, object]:
    """What pycocotools computes: its twelve numbers, and the mean precision of each category."""
    target = COCO(str(folder / "instances.json"))
    prediction = target.loadRes(str(folder / f"results_{name}.json"))
    evaluator = COCOeval(target, prediction, "segm")
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    per_class = {}
    for index, category_id in enumerate(evaluator.params.catIds):
        precision = evaluator.eval["precision"][:, :, index, 0, 2]
        per_class[int(category_id)] = float(np.mean(precision[precision > -1]))
    return {"stats": evaluator.stats.tolist(), "per_class": per_class}


def main(folder: Path) -> None:
    """Compute everything."""
    expected = {
        "panoptic": {name: panoptic(folder, name) for name in ("near", "far", "things_only")},
        "instances": {name: instances(folder, name) for name in ("near", "far")},
    }
    write_json(folder / "expected.json", expected)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
