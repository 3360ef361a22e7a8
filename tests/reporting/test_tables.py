import csv
import json

import pytest

from drawn_folders import moved, scene, write_split
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
