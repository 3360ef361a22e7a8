import csv
import json

import numpy as np
import pytest

from drawn_folders import moved, scene, write_split
from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.panoptic import Panoptic
from maskmill.metrics.comparison import compare, read_counts
from maskmill.metrics.evaluation import evaluate_folders
from maskmill.reporting.tables import write_tables
from strategies import CATEGORIES

TRUTHS = [scene(seed) for seed in range(6)]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("tables")
    target = write_split(root / "target", TRUTHS)
    evaluation = evaluate_folders(target, write_split(root / "prediction", [moved(truth) for truth in TRUTHS]))
    write_tables(root / "out", evaluation)
    return root / "out", evaluation


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_metrics_json_holds_fractions_and_never_nan(written):
    out, evaluation = written
    metrics = json.loads((out / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert metrics == {"num_images": 6, **evaluation.scores()}


@pytest.mark.parametrize("metric", ["PQ", "mIoU"])
def test_counts_of_all_images_give_the_headline_numbers(written, metric):
    out, evaluation = written
    counts = read_counts(out / "counts.csv")
    assert compare(counts, counts, metric=metric, margin=0).candidate == pytest.approx(evaluation.scores()[metric], abs=1e-14)


def test_counts_of_things_give_the_pq_of_things(written):
    out, evaluation = written
    counts = read_counts(out / "counts.csv", things_only=True)
    assert compare(counts, counts, metric="PQ", margin=0).candidate == pytest.approx(evaluation.scores()["PQ/thing"], abs=1e-14)


def test_each_class_has_a_row_and_their_mean_is_the_headline_number(written):
    out, evaluation = written
    table = rows(out / "per_class.csv")
    assert [row["category"] for row in table] == [category.name for category in CATEGORIES]
    values = [float(row["PQ"]) for row in table if row["PQ"]]
    assert sum(values) / len(values) == pytest.approx(evaluation.scores()["PQ"], abs=1e-14)


def test_the_row_of_an_image_is_what_scoring_it_alone_gives(written, tmp_path):
    out, _ = written
    row = rows(out / "per_image.csv")[3]
    alone = write_split(tmp_path / "target", TRUTHS[3:4]), write_split(tmp_path / "prediction", [moved(TRUTHS[3])])
    scores = evaluate_folders(*alone).scores()
    assert row["image"] == "004.png"
    assert {name: float(row[name]) for name in ("PQ", "mIoU", "pixel_accuracy")} == {
        name: scores[name] for name in ("PQ", "mIoU", "pixel_accuracy")
    }


def test_the_confusion_table_counts_every_pixel(written):
    out, _ = written
    table = rows(out / "confusion.csv")
    assert [row["target"] for row in table] == [*(category.name for category in CATEGORIES), "void"]
    assert sum(int(value) for row in table for name, value in row.items() if name != "target") == sum(truth.ids.size for truth in TRUTHS)


BLOBS = Categories(
    [Category(3, "void", True, (200, 0, 0)), Category(4, "target", True, (0, 0, 200)), Category(5, "background", True, (9, 9, 9))]
)


@pytest.fixture
def blobs(tmp_path):
    """An empty image and one with a blob, in two predictions: the second sees a blob in the empty one too."""
    empty, full = np.zeros((4, 4), np.int32), np.ones((4, 4), np.int32)
    nothing, blob = Panoptic.from_ids(empty, {}), Panoptic.from_ids(full, {1: 3})
    target = write_split(tmp_path / "target", [nothing, blob], categories=BLOBS)
    for name, labels in (("right", [nothing, blob]), ("wrong", [blob, blob])):
        prediction = write_split(tmp_path / name, labels, categories=BLOBS)
        write_tables(tmp_path / name / "out", evaluate_folders(target, prediction))
    return tmp_path / "right" / "out", tmp_path / "wrong" / "out"


def test_an_image_without_anything_is_counted_so_that_models_compare(blobs):
    right, wrong = (read_counts(out / "counts.csv") for out in blobs)
    result = compare(right, wrong, metric="PQ", margin=0)
    assert (result.candidate, result.baseline) == (1, 1 / 1.5)  # one right; one right and one spurious


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
