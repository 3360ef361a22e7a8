import csv
import json

import numpy as np
import pytest

from drawn_folders import moved, scene, write_split
from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.panoptic import Panoptic
from maskmill.evaluation.analysis import Analysis
from maskmill.evaluation.bootstrap import Resampling
from maskmill.evaluation.comparison import compare
from maskmill.evaluation.evaluation import evaluate_folders
from maskmill.evaluation.image_counts import read_image_counts
from maskmill.evaluation.slices import Slicing
from maskmill.reporting.tables import write_tables
from strategies import CATEGORIES

TRUTHS = [scene(seed) for seed in range(6)]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("tables")
    target = write_split(root / "target", TRUTHS)
    evaluation = evaluate_folders(
        target, write_split(root / "prediction", [moved(truth) for truth in TRUTHS])
    )
    baseline = evaluate_folders(
        target, write_split(root / "baseline", [moved(truth, by=4) for truth in TRUTHS])
    )
    halves = Slicing("half", ("first",) * 3 + ("second",) * 3, ("first", "second"))
    write_tables(root / "out", Analysis(evaluation, Resampling(50), [halves], baseline))
    return root / "out", evaluation


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_metrics_json_holds_fractions_and_never_nan(written):
    out, evaluation = written
    metrics = json.loads((out / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert metrics.pop("interval")["PQ"][0] <= metrics["PQ"]
    assert metrics == {"num_images": 6, **evaluation.scores()}


def test_every_headline_number_has_an_interval_around_it(written):
    out, _ = written
    metrics = json.loads((out / "metrics.json").read_text())
    bounds = metrics.pop("interval")
    assert bounds.keys() == {name for name, value in metrics.items() if value is not None} - {
        "num_images"
    }
    for name, (low, high) in bounds.items():
        assert 0 <= low <= high <= 1, name


def test_dvc_shows_one_number_for_each_metric(written):
    from dvc.repo.metrics.show import _extract_metrics

    metrics = json.loads((written[0] / "metrics.json").read_text())
    shown = _extract_metrics(metrics, "metrics.json")
    assert shown == {
        name: value for name, value in metrics.items() if value is not None and name != "interval"
    }


def test_without_resamples_there_are_no_intervals(written, tmp_path):
    _, evaluation = written
    write_tables(tmp_path, Analysis(evaluation, Resampling(0)))
    assert "interval" not in json.loads((tmp_path / "metrics.json").read_text())
    assert {row["PQ_low"] for row in rows(tmp_path / "per_class.csv")} == {""}
    assert not (tmp_path / "differences.csv").exists()


def test_counts_of_all_images_give_the_headline_numbers(written):
    out, evaluation = written
    read = read_image_counts(out / "counts.csv").score(np.ones((1, 6)))
    expected = evaluation.scores()
    known = {name for name, values in read.items() if values.ndim == 1 and not np.isnan(values[0])}
    assert known == {name for name in read if name in expected} - {"pixel_accuracy"}
    for name in known:
        assert read[name][0] == pytest.approx(
            expected[name], abs=1e-14
        )  # the same sums in another order


def test_each_class_has_a_row_and_their_mean_is_the_headline_number(written):
    out, evaluation = written
    table = rows(out / "per_class.csv")
    assert [row["category"] for row in table] == [category.name for category in CATEGORIES]
    values = [float(row["PQ"]) for row in table if row["PQ"]]
    assert sum(values) / len(values) == pytest.approx(evaluation.scores()["PQ"], abs=1e-14)


def test_the_row_of_an_image_is_what_scoring_it_alone_gives(written, tmp_path):
    out, _ = written
    row = rows(out / "per_image.csv")[3]
    alone = (
        write_split(tmp_path / "target", TRUTHS[3:4]),
        write_split(tmp_path / "prediction", [moved(TRUTHS[3])]),
    )
    scores = evaluate_folders(*alone).scores()
    assert row["image"] == "004.png"
    assert {name: float(row[name]) for name in ("PQ", "mIoU", "pixel_accuracy")} == {
        name: scores[name] for name in ("PQ", "mIoU", "pixel_accuracy")
    }


def test_the_confusion_table_counts_every_pixel(written):
    out, _ = written
    table = rows(out / "confusion.csv")
    assert [row["target"] for row in table] == [*(category.name for category in CATEGORIES), "void"]
    assert sum(
        int(value) for row in table for name, value in row.items() if name != "target"
    ) == sum(truth.ids.size for truth in TRUTHS)


def test_what_pq_lacks_adds_up_to_one_in_every_class(written):
    out, _ = written
    parts = ("PQ", "lost_missed", "lost_background", "lost_classification", "lost_localization")
    for row in rows(out / "per_class.csv"):
        assert sum(float(row[part]) for part in parts) == pytest.approx(
            1, abs=1e-12
        )  # five roundings


def test_slices_have_rows_that_add_up(written):
    out, _ = written
    table = [row for row in rows(out / "slices.csv") if row["slicing"] == "half"]
    assert [row["slice"] for row in table] == ["first", "second"]
    assert sum(int(row["images"]) for row in table) == 6
    assert sum(int(row["segments"]) for row in table) == sum(
        len(truth.segments) for truth in TRUTHS
    )


def test_differences_name_numbers_classes_and_images(written):
    out, evaluation = written
    table = rows(out / "differences.csv")
    (whole,) = [row for row in table if (row["kind"], row["metric"]) == ("all", "PQ")]
    assert float(whole["value"]) == pytest.approx(evaluation.scores()["PQ"], abs=1e-14)
    assert float(whole["difference"]) == float(whole["value"]) - float(whole["baseline"])
    assert (
        float(whole["difference_low"])
        <= float(whole["difference"])
        <= float(whole["difference_high"])
    )
    assert {row["name"] for row in table if row["kind"] == "class"} == {
        category.name for category in CATEGORIES
    }
    assert [row["name"] for row in table if row["kind"] == "image"] == [
        f"{number:03}.png" for number in range(1, 7)
    ]


BLOBS = Categories(
    [
        Category(3, "void", True, (200, 0, 0)),
        Category(4, "target", True, (0, 0, 200)),
        Category(5, "background", True, (9, 9, 9)),
    ]
)


@pytest.fixture
def blobs(tmp_path):
    """An empty image and one with a blob, in two predictions: the second sees a blob in the empty one too."""
    empty, full = np.zeros((4, 4), np.int32), np.ones((4, 4), np.int32)
    nothing, blob = Panoptic.from_ids(empty, {}), Panoptic.from_ids(full, {1: 3})
    target = write_split(tmp_path / "target", [nothing, blob], categories=BLOBS)
    for name, labels in (("right", [nothing, blob]), ("wrong", [blob, blob])):
        prediction = write_split(tmp_path / name, labels, categories=BLOBS)
        write_tables(
            tmp_path / name / "out", Analysis(evaluate_folders(target, prediction), Resampling(10))
        )
    return tmp_path / "right" / "out", tmp_path / "wrong" / "out"


def test_an_image_without_anything_is_counted_so_that_models_compare(blobs):
    right, wrong = (read_image_counts(out / "counts.csv") for out in blobs)
    result = compare(right, wrong, metric="PQ", margin=0, resampling=Resampling(10))
    assert (result.candidate, result.baseline) == (
        1,
        1 / 1.5,
    )  # one right; one right and one spurious


def test_a_category_may_be_called_like_the_column_of_the_unlabelled(blobs):
    with (blobs[1] / "confusion.csv").open(newline="") as file:
        table = list(csv.reader(file))
    assert table == [
        ["target", "void", "target", "background", "background"],
        ["void", "16", "0", "0", "0"],
        ["target", "0", "0", "0", "0"],
        ["background", "0", "0", "0", "0"],
        ["background", "16", "0", "0", "0"],
    ]
