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
from maskmill.evaluation.image_counts import FIELDS, read_image_counts
from maskmill.evaluation.slices import Slicing
from maskmill.reporting.tables import SHOWN, write_tables
from strategies import CATEGORIES

TARGETS = [scene(seed) for seed in range(6)]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("tables")
    target = write_split(root / "target", TARGETS)
    prediction = write_split(root / "prediction", [moved(target) for target in TARGETS])
    baseline = write_split(root / "baseline", [moved(target, by=4) for target in TARGETS])
    evaluation = evaluate_folders(target, prediction)
    halves = Slicing("half", ("first",) * 3 + ("second",) * 3, ("first", "second"))
    before = evaluate_folders(target, baseline)
    write_tables(root / "out", Analysis(evaluation, Resampling(50), [halves], before))
    return root / "out", evaluation


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_metrics_json_contains_fractions_and_never_nan(written):
    out, evaluation = written
    metrics = json.loads((out / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert metrics.pop("interval")["PQ"][0] <= metrics["PQ"]
    assert metrics == {"num_images": 6, **evaluation.scores()}


def test_every_headline_number_has_an_interval_around_it(written):
    out, _ = written
    metrics = json.loads((out / "metrics.json").read_text())
    bounds = metrics.pop("interval")
    del metrics["num_images"]
    assert bounds.keys() == {name for name, value in metrics.items() if value is not None}
    for name, (low, high) in bounds.items():
        assert 0 <= low <= high <= 1, name


def test_dvc_shows_the_headlines_in_at_most_twelve_columns(written):
    from dvc.repo.metrics.show import _extract_metrics

    out, evaluation = written
    headlines = json.loads((out / "headlines.json").read_text())
    shown = _extract_metrics(headlines, "headlines.json")
    assert shown == headlines
    assert list(shown) == [name for name in SHOWN if not name.startswith("AP")]  # no scores here
    assert headlines == {name: evaluation.scores()[name] for name in headlines}
    assert len(SHOWN) <= 11  # and a column for the path


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
    assert known == (read.keys() & expected.keys()) - {"pixel_accuracy"}
    for name in known:  # the same sums in another order
        assert read[name][0] == pytest.approx(expected[name], abs=1e-14)


def test_each_class_has_a_row_and_their_mean_is_the_headline_number(written):
    out, evaluation = written
    table = rows(out / "per_class.csv")
    assert [row["category"] for row in table] == [category.name for category in CATEGORIES]
    values = [float(row["PQ"]) for row in table if row["PQ"]]
    assert sum(values) / len(values) == pytest.approx(evaluation.scores()["PQ"], abs=1e-14)


def test_the_row_of_an_image_contains_the_scores_of_that_image_alone(written, tmp_path):
    out, _ = written
    row = rows(out / "per_image.csv")[3]
    target = write_split(tmp_path / "target", TARGETS[3:4])
    prediction = write_split(tmp_path / "prediction", [moved(TARGETS[3])])
    scores = evaluate_folders(target, prediction).scores()
    assert row["image"] == "004.png"
    for metric in ("PQ", "mIoU", "pixel_accuracy"):
        assert float(row[metric]) == scores[metric], metric


def test_the_confusion_table_counts_every_pixel(written):
    out, _ = written
    table = rows(out / "confusion.csv")
    names = [category.name for category in CATEGORIES]
    assert [row.pop("target") for row in table] == [*names, "void"]
    num_pixels = 0
    for row in table:
        num_pixels += sum(map(int, row.values()))
    assert num_pixels == sum(target.ids.size for target in TARGETS)


def test_pq_and_its_losses_add_up_to_one_in_every_class(written):
    out, _ = written
    parts = ("PQ", "lost_missed", "lost_background", "lost_classification", "lost_localization")
    for row in rows(out / "per_class.csv"):
        total = sum(float(row[part]) for part in parts)
        assert total == pytest.approx(1, abs=1e-12)  # five roundings


def test_slices_have_rows_that_add_up(written):
    out, _ = written
    table = [row for row in rows(out / "slices.csv") if row["slicing"] == "half"]
    assert [row["slice"] for row in table] == ["first", "second"]
    assert sum(int(row["images"]) for row in table) == 6
    num_segments = sum(len(target.segments) for target in TARGETS)
    assert sum(int(row["segments"]) for row in table) == num_segments


def test_the_difference_of_a_score_lies_within_its_interval(written):
    out, evaluation = written
    table = rows(out / "differences.csv")
    (row,) = [row for row in table if (row["kind"], row["metric"]) == ("all", "PQ")]
    value = float(row["value"])
    difference = float(row["difference"])
    assert value == pytest.approx(evaluation.scores()["PQ"], abs=1e-14)
    assert difference == value - float(row["baseline"])
    assert float(row["difference_low"]) <= difference <= float(row["difference_high"])


def test_differences_have_rows_for_classes_and_images(written):
    out, _ = written
    table = rows(out / "differences.csv")
    classes = {row["name"] for row in table if row["kind"] == "class"}
    images = [row["name"] for row in table if row["kind"] == "image"]
    assert classes == {category.name for category in CATEGORIES}
    assert images == [f"{number:03}.png" for number in range(1, 7)]


BLOBS = Categories(
    [
        Category(3, "void", True, (200, 0, 0)),
        Category(4, "target", True, (0, 0, 200)),
        Category(5, "background", True, (9, 9, 9)),
    ]
)


@pytest.fixture
def blobs(tmp_path):
    """Tables of two predictions of an empty image and one with a blob: right, and two blobs."""
    nothing = Panoptic.from_ids(np.zeros((4, 4), np.int32), {})
    blob = Panoptic.from_ids(np.ones((4, 4), np.int32), {1: 3})
    target = write_split(tmp_path / "target", [nothing, blob], categories=BLOBS)
    for name, labels in (("right", [nothing, blob]), ("wrong", [blob, blob])):
        prediction = write_split(tmp_path / name, labels, categories=BLOBS)
        analysis = Analysis(evaluate_folders(target, prediction), Resampling(10))
        write_tables(tmp_path / name / "out", analysis)
    return tmp_path / "right" / "out", tmp_path / "wrong" / "out"


def test_an_image_without_segments_is_counted_so_that_models_compare(blobs):
    right = read_image_counts(blobs[0] / "counts.csv")
    wrong = read_image_counts(blobs[1] / "counts.csv")
    result = compare(right, wrong, metric="PQ", margin=0, resampling=Resampling(10))
    assert result.candidate == 1
    assert result.baseline == 1 / 1.5  # one match and one false positive


def test_a_category_may_have_the_name_of_another_column(blobs):
    with (blobs[1] / "confusion.csv").open(newline="") as file:
        table = list(csv.reader(file))
    assert table == [
        ["target", "void", "target", "background", "background"],
        ["void", "16", "0", "0", "0"],
        ["target", "0", "0", "0", "0"],
        ["background", "0", "0", "0", "0"],
        ["background", "16", "0", "0", "0"],
    ]


FORMULAS = ['=HYPERLINK("http://x")', "+1", "-1", "@SUM(A1)", "\t=1", "'=1", "''"]


def test_no_name_is_a_formula_and_counts_are_read_with_the_names_as_they_are(tmp_path):
    names = [f"{formula}{index}" for index, formula in enumerate(FORMULAS)]
    table = Categories(
        [Category(index, name, True, (index, 0, 0)) for index, name in enumerate(names)]
    )
    ids = np.arange(len(names), dtype=np.int32)[None].repeat(4, axis=0) + 1
    labels = Panoptic.from_ids(ids, {index + 1: index for index in range(len(names))})
    target = write_split(tmp_path / "target", [labels], categories=table, names=["=1.png"])
    slicing = Slicing("=tag", ("=1+1",), ("=1+1",))
    evaluation = evaluate_folders(target, target)
    write_tables(tmp_path, Analysis(evaluation, Resampling(0), [slicing], evaluation))
    for path in tmp_path.glob("*.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            cells = [cell for line in csv.reader(file) for cell in line]
        names_among_them = [cell for cell in cells if not is_number(cell)]
        assert [cell for cell in names_among_them if cell.startswith(("=", "+", "-", "@"))] == []
    counts = read_image_counts(tmp_path / "counts.csv")
    assert counts.images == ("=1.png",)
    assert sorted(counts.categories) == sorted(names)


def is_number(cell):
    try:
        float(cell)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,category\n", "expected counts with the columns"),
        ("", "expected counts with the columns"),
        ("image,category,isthing,{fields}\na,b,1,x\n", "row 0 has another value"),
        ("\0", "zero bytes"),
    ],
)
def test_counts_that_cannot_be_read_are_refused_by_name(tmp_path, text, message):
    path = tmp_path / "counts.csv"
    path.write_text(text.replace("{fields}", ",".join(FIELDS)))
    with pytest.raises(ValueError, match=message) as caught:
        read_image_counts(path)
    assert str(path) in str(caught.value)
