"""Several pairs of ground truth and predictions, scored as one data set."""

from dataclasses import replace

import numpy as np
import pytest

from drawn_folders import moved, scene, write_instances, write_split
from maskmill.canonical.categories import Categories
from maskmill.canonical.files import read_json
from maskmill.canonical.folder import PanopticFolder
from maskmill.evaluation.evaluation import evaluate_folders
from maskmill.evaluation.joined_folders import join_pairs
from strategies import CATEGORIES

NAMES = (["a.jpg", "b/c.png"], ["d.png"], ["b/a.png", "e.png"])


def write_pairs(root, *, scored=True):
    """Pairs of folders, and the two folders that have all their images."""
    targets, predictions, everything = [], [], ([], [])
    for number, names in enumerate(NAMES):
        labels = [scene(10 * number + index) for index in range(len(names))]
        preds = [moved(panoptic) for panoptic in labels]
        targets.append(write_split(root / f"{number}/val", labels, images=True, names=names))
        predictions.append(write_split(root / f"{number}/predict", preds, names=names))
        if scored:
            write_instances(predictions[-1], preds)
        everything[0].extend(labels)
        everything[1].extend(preds)
    all_names = [name for names in NAMES for name in names]
    target, pred = [
        write_split(root / name, labels, names=all_names)
        for name, labels in zip(("target", "pred"), everything, strict=True)
    ]
    if scored:
        write_instances(pred, everything[1])
    return targets, predictions, (target, pred)


@pytest.mark.parametrize("scored", [True, False])
def test_the_scores_are_those_of_one_data_set_with_all_images(tmp_path, scored):
    targets, predictions, whole = write_pairs(tmp_path, scored=scored)
    target, pred = join_pairs(targets, predictions, tmp_path / "joined")
    scores = evaluate_folders(target, pred).scores()
    assert scores == evaluate_folders(*whole).scores()
    assert ("AP" in scores) == scored
    assert 0 < scores["PQ"] < 1


def test_files_are_those_of_the_folders_under_new_ids(tmp_path):
    targets, predictions, _ = write_pairs(tmp_path)
    for prediction, names in zip(predictions, NAMES, strict=True):
        for name in names:
            mask = (prediction / "semantic" / name).with_suffix(".png")
            mask.parent.mkdir(parents=True, exist_ok=True)
            mask.write_text(f"class mask of {name}")
    target, pred = join_pairs(targets, predictions, tmp_path / "joined")
    assert (pred / "semantic/b/a.png").read_text() == "class mask of b/a.png"
    records = PanopticFolder(target).records
    assert [record.id for record in records] == [1, 2, 3, 4, 5]
    assert [record.file_name for record in records] == [name for names in NAMES for name in names]
    assert (target / "images/b/c.png").samefile(targets[0] / "images/b/c.png")
    assert (pred / "panoptic/b/c.png").samefile(predictions[0] / "panoptic/b/c.png")
    ids = {row["image_id"] for row in read_json(pred / "instances.json")}
    assert ids == {1, 2, 3, 4, 5}
    last = PanopticFolder(predictions[2]).panoptic(20)
    np.testing.assert_array_equal(PanopticFolder(pred).panoptic(5).ids, last.ids)


def test_images_of_one_name_are_refused(tmp_path):
    targets, predictions, _ = write_pairs(tmp_path)
    with pytest.raises(ValueError, match=r"0/val/pan.*but a\.jpg and a\.jpg would have the same"):
        join_pairs([targets[0]] * 2, [predictions[0]] * 2, tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_other_classes_are_refused(tmp_path):
    targets, predictions, _ = write_pairs(tmp_path)
    renamed = [replace(category, name=f"{category.name}s") for category in CATEGORIES]
    other = {"categories": Categories(renamed), "names": ["z.png"]}
    target = write_split(tmp_path / "z/val", [scene(1)], **other)
    pred = write_split(tmp_path / "z/predict", [scene(1)], **other)
    with pytest.raises(ValueError, match="evaluate data sets of the same classes together"):
        join_pairs([targets[0], target], [predictions[0], pred], tmp_path / "joined")


@pytest.mark.parametrize("missing", ["instances.json", "semantic"])
def test_what_some_predictions_alone_have_is_refused(tmp_path, missing):
    targets, predictions, _ = write_pairs(tmp_path)
    if missing == "semantic":
        (predictions[0] / "semantic").mkdir()
    else:
        (predictions[1] / "instances.json").unlink()
    with pytest.raises(ValueError, match=f"1/predict: expected {missing}.*in the same way"):
        join_pairs(targets, predictions, tmp_path / "joined")


def test_folders_in_another_order_are_refused(tmp_path):
    names = [["a.png"], ["b.png"]]
    targets = [write_split(tmp_path / f"{i}/val", [scene(i)], names=names[i]) for i in range(2)]
    preds = [write_split(tmp_path / f"{i}/predict", [scene(i)], names=names[i]) for i in range(2)]
    with pytest.raises(ValueError, match=r"1/predict.*is b\.png here and a\.png there - list both"):
        join_pairs(targets, preds[::-1], tmp_path / "joined")


def test_a_missing_file_is_named(tmp_path):
    targets, predictions, _ = write_pairs(tmp_path)
    (predictions[1] / "panoptic/d.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1/predict/panoptic/d\.png: expected the file of"):
        join_pairs(targets, predictions, tmp_path / "joined")


def test_a_folder_with_an_input_is_not_replaced(tmp_path):
    targets, predictions, _ = write_pairs(tmp_path)
    out = tmp_path / "joined"
    _, before = join_pairs(targets, predictions, out)
    with pytest.raises(ValueError, match="it contains the input"):
        join_pairs(targets, predictions, out, inputs=[before])
    assert (before / "panoptic.json").is_file()


def test_coco_files_are_joined_too(tmp_path):
    targets, predictions, whole = write_pairs(tmp_path, scored=False)
    paths = [[folder / "panoptic.json" for folder in folders] for folders in (targets, predictions)]
    target, pred = join_pairs(*paths, tmp_path / "joined")
    assert evaluate_folders(target, pred).scores() == evaluate_folders(*whole).scores()
