"""Compute expected.json with the official tools (see README.md).

PYTHONPATH=src:tests:PANOPTICAPI python tests/golden/official.py tests/golden
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from panopticapi.evaluation import pq_compute, pq_compute_single_core
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from drawn_folders import write_things
from maskmill.canonical.files import read_json, write_json
from maskmill.canonical.folder import PanopticFolder


def panoptic(folder: Path, name: str) -> dict[str, object]:
    """What panopticapi computes."""
    target = folder / "target" / "panoptic.json"
    prediction = folder / name / "panoptic.json"
    return dict(pq_compute(str(target), str(prediction)))


def things(folder: Path) -> float:
    """PQ by panopticapi where ground truth and prediction `near` have things only.

    Its `pq_compute` divides by the number of stuff classes, so this calls what that calls.
    """
    with TemporaryDirectory() as name:
        target, pred = (
            write_things(PanopticFolder(folder / part), Path(name) / part)
            for part in ("target", "near")
        )
        index, pred_index = (read_json(split / "panoptic.json") for split in (target, pred))
        pairs = list(zip(index["annotations"], pred_index["annotations"], strict=True))
        categories = {row["id"]: row for row in index["categories"]}
        pngs = (str(target / "panoptic"), str(pred / "panoptic"))
        stat = pq_compute_single_core(0, pairs, *pngs, categories)
        return float(stat.pq_average(categories, isthing=None)[0]["pq"])


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
        "things": things(folder),
        "instances": {name: instances(folder, name) for name in ("near", "far")},
    }
    write_json(folder / "expected.json", expected)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
