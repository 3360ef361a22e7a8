"""PQ and AP of the drawn annotations in tests/golden against the numbers of the official tools."""

import pytest

from maskmill.canonical.files import read_json
from maskmill.canonical.folder import PanopticFolder
from maskmill.evaluation.evaluation import evaluate_folders
from maskmill.metrics import PanopticQuality
from maskmill.metrics.functional.mask_ap import NAMES, mask_ap
from maskmill.metrics.functional.panoptic_quality import panoptic_per_class

GROUPS = {"All": "", "Things": "/thing", "Stuff": "/stuff"}
PREDICTIONS = ["near", "far", "things_only"]


@pytest.fixture(scope="module")
def golden(repository):
    return repository / "tests" / "golden"


@pytest.fixture(scope="module")
def expected(golden):
    return read_json(golden / "expected.json")


@pytest.mark.parametrize("name", PREDICTIONS)
def test_pq_equals_that_of_panopticapi(golden, expected, name):
    scores = evaluate_folders(golden / "target", golden / name).scores()
    for group, suffix in GROUPS.items():
        for short in ("pq", "sq", "rq"):  # 1e-14: sums in another order
            value = scores[f"{short.upper()}{suffix}"]
            assert value == pytest.approx(expected["panoptic"][name][group][short], abs=1e-14)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_pq_of_each_class_equals_that_of_panopticapi(golden, expected, name):
    evaluation = evaluate_folders(golden / "target", golden / name)
    per_class = panoptic_per_class(evaluation.counts)
    for index, category in enumerate(evaluation.categories):
        row = expected["panoptic"][name]["per_class"][str(category.id)]
        values = [row["pq"], row["sq"], row["rq"]]
        assert per_class[index].tolist() == pytest.approx(values, abs=1e-14), category.name


def test_the_metric_has_the_pq_of_the_folders(golden):
    target = PanopticFolder(golden / "target")
    prediction = PanopticFolder(golden / "far")
    metric = PanopticQuality(target.categories)
    for record in target.records:
        metric.update([prediction.panoptic(record.id)], [target.panoptic(record.id)])
    scores = evaluate_folders(golden / "target", golden / "far").scores()
    assert float(metric.compute()["PQ"]) == scores["PQ"]


@pytest.mark.parametrize("name", ["near", "far"])
def test_all_twelve_numbers_of_coco_equal_those_of_pycocotools(golden, expected, name):
    scores = mask_ap(
        read_json(golden / "instances.json"), read_json(golden / f"results_{name}.json")
    )
    numbers = [scores.numbers[key] for key in NAMES]
    assert numbers == expected["instances"][name]["stats"]  # to the last bit


@pytest.mark.parametrize("name", ["near", "far"])
def test_ap_of_each_class_equals_that_of_pycocotools(golden, expected, name):
    scores = mask_ap(
        read_json(golden / "instances.json"), read_json(golden / f"results_{name}.json")
    )
    per_class = {str(key): value for key, value in scores.per_class.items()}
    assert per_class == expected["instances"][name]["per_class"]  # to the last bit
