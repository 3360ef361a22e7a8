"""Only the families of scores that are asked for are computed and written."""

import csv
import json

import pytest

from drawn_folders import moved, scene, write_instances, write_split
from maskmill.evaluation.analysis import Analysis, analyse
from maskmill.evaluation.bootstrap import Resampling
from maskmill.evaluation.evaluation import evaluate_folders
from maskmill.reporting.tables import write_tables

TARGETS = [scene(seed) for seed in range(3)]
PREDS = [moved(target) for target in TARGETS]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("families")
    prediction = write_split(root / "prediction", PREDS)
    write_instances(prediction, PREDS)
    return write_split(root / "target", TARGETS), prediction


@pytest.mark.parametrize(
    ("family", "names", "columns"),
    [
        ("PQ", {"PQ", "SQ/thing", "RQ/stuff", "PQ/lost/missed"}, {"PQ", "PQ_low", "lost_missed"}),
        ("mIoU", {"mIoU", "Dice", "fwIoU", "pixel_accuracy"}, {"IoU", "IoU_high"}),
        ("AP", {"AP", "AP50", "AR100", "AR/small"}, {"AP", "AP_low"}),
        ("boundary", {"boundary_mIoU", "boundary_AP", "boundary_AP75"}, {"boundary_IoU"}),
    ],
)
def test_a_family_alone_has_the_values_that_it_has_among_all(
    folders, tmp_path, family, names, columns
):
    whole = evaluate_folders(*folders).scores()
    evaluation = evaluate_folders(*folders, metrics=[family])
    scores = evaluation.scores()
    assert names <= scores.keys()
    assert scores == {name: whole[name] for name in scores}
    image = evaluation.images[0]
    assert (image.masks is not None) == (family == "AP")
    assert (image.mask_boundaries is not None) == (family == "boundary")
    assert bool(len(image.boundary.index)) == (family == "boundary")

    write_tables(tmp_path, Analysis(evaluation, Resampling(20)))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics.pop("interval").keys() <= scores.keys()
    assert metrics == {"num_images": 3, **scores}
    header = next(csv.reader((tmp_path / "per_class.csv").open()))
    optional = {"PQ", "PQ_low", "lost_missed", "IoU", "IoU_high", "AP", "AP_low", "boundary_IoU"}
    assert optional & set(header) == columns
    counts = next(csv.reader((tmp_path / "counts.csv").open()))
    assert ("boundary_union" in counts) == (family == "boundary")


def test_without_calibration_no_score_is_sorted_into_bins(folders, caplog):
    evaluation = evaluate_folders(*folders, metrics=["PQ", "mIoU", "AP", "boundary"])
    assert "ECE" not in evaluation.scores()
    assert not evaluation.calibration.count.any()
    assert not caplog.records


def test_images_are_decoded_only_for_slices_by_brightness(folders, tmp_path):
    (tmp_path / "001.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="001.png"):
        analyse(evaluate_folders(*folders), Resampling(0), images=tmp_path)

    evaluation = evaluate_folders(*folders, metrics=["PQ"])
    analysis = analyse(evaluation, Resampling(0), images=tmp_path)
    assert [slicing.name for slicing in analysis.slicings] == ["crowding"]
