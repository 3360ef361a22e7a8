"""What `evaluate` says its scores are of, and what a registration refuses."""

import shutil
from pathlib import Path

import cv2
import pytest

from drawn_evaluations import SETTINGS, evaluate, predict, write_tiny_model
from drawn_folders import moved, scene, write_split
from maskmill.canonical.folder import PanopticFolder
from maskmill.evaluation.evidence import read_evidence, require_evidence
from maskmill.serving.model_files import read_model


def recompress(path):
    """The same pixels in other bytes."""
    cv2.imwrite(str(path), cv2.imread(str(path)), [cv2.IMWRITE_PNG_COMPRESSION, 0])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model, a split, its prediction and the evaluation."""
    folder = tmp_path_factory.mktemp("made")
    model = write_tiny_model(folder / "model")
    truth = write_split(folder / "truth", [scene(seed) for seed in range(3)], images=True)
    prediction = predict(folder / "prediction", model, truth)
    evaluate(folder / "evaluation", truth, prediction)
    return folder


@pytest.fixture
def folder(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "made"))


def check(folder, *, model=None):
    fingerprint = model or read_model(folder / "model").fingerprint
    split = PanopticFolder(folder / "truth")
    return require_evidence(folder / "evaluation", model=fingerprint, split=split)


def test_an_evaluation_of_this_model_on_this_split_is_accepted_wherever_it_is(folder):
    evidence = check(folder)
    assert list(evidence.images) == ["001.png", "002.png", "003.png"]
    assert evidence.settings == {**SETTINGS, "background": False, "void_in_union": False}
    assert str(folder.parent) not in (folder / "evaluation" / "evidence.json").read_text()


def test_an_evaluation_in_another_folder_has_the_same_evidence(folder, made):
    evaluate(folder / "again", folder / "truth", folder / "prediction")
    again = (folder / "again" / "evidence.json").read_bytes()
    assert again == (made / "evaluation" / "evidence.json").read_bytes()


def swap_images(folder):
    one, two = (folder / "truth" / "images" / name for name in ("001.png", "002.png"))
    data = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(data)


def relabel(folder):
    write_split(folder / "truth", [moved(scene(seed)) for seed in range(3)])


def edit_scores(folder):
    path = folder / "evaluation" / "metrics.json"
    path.write_text(path.read_text().replace("0.", "0.9", 1))


def edit_counts(folder):
    path = folder / "evaluation" / "counts.csv"
    path.write_text(path.read_text().replace(",0,", ",9,", 1))


def evaluate_swapped(folder):
    swap_images(folder)
    evaluate(folder / "evaluation", folder / "truth", folder / "prediction")


def evaluate_part(folder):
    part = write_split(folder / "part", [scene(0), scene(1)], images=True)
    evaluate(folder / "evaluation", part, folder / "prediction")


def evaluate_other_tool(folder):
    (folder / "prediction" / "prediction.json").unlink()
    evaluate(folder / "evaluation", folder / "truth", folder / "prediction")


FOOLED = {
    "images of the same names": (
        *(swap_images, "expected an evaluation on", "2 of 3 images differ, first 001.png"),
        "either run `maskmill predict` and `maskmill evaluate` on this split",
    ),
    "the same pixels in another file": (
        *(lambda folder: recompress(folder / "truth/images/003.png"), "on another split"),
        *("1 of 3 images differ, first 003.png", "`register.images`"),
    ),
    "other labels of the same images": (
        *(relabel, "another split", "the images are the same, the labels differ", "evaluate` on"),
    ),
    "a part of the images": (
        *(evaluate_part, "another split", "1 of 3 images differ, first 003.png", "predict`"),
    ),
    "a prediction of other images": (
        *(evaluate_swapped, "expected a prediction of the images that were evaluated"),
        *("2 of 3 were predicted from other files, first 001.png", "run `maskmill predict`"),
    ),
    "a prediction of another tool": (
        *(evaluate_other_tool, "expected the evidence of an evaluation", "another tool"),
        "run `maskmill predict` and `maskmill evaluate` again",
    ),
    "edited metrics": (
        *(edit_scores, "metrics.json: expected the scores", "the file was changed", "evaluate`"),
    ),
    "edited counts": (
        *(edit_counts, "counts.csv: expected the scores", "the file was changed", "evaluate`"),
    ),
}


@pytest.mark.parametrize("case", FOOLED)
def test_an_evaluation_of_something_else_is_refused(folder, case):
    change, *messages = FOOLED[case]
    change(folder)
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        check(folder)
    assert [text for text in messages if text not in str(caught.value)] == []


def test_an_evaluation_of_another_model_is_refused(folder):
    with pytest.raises(ValueError, match="expected an evaluation of model 0123456789ab, but it is"):
        check(folder, model="0123456789abcdef")


@pytest.mark.parametrize(
    ("settings", "is_comparable"),
    [({}, True), ({"void_in_union": True}, False), ({"void": "background"}, False)],
)
def test_scores_are_compared_only_where_they_count_the_same(folder, settings, is_comparable):
    before = read_evidence(folder / "evaluation")
    evaluate(folder / "evaluation", folder / "truth", folder / "prediction", **settings)
    assert (read_evidence(folder / "evaluation").key == before.key) is is_comparable


def test_scores_of_another_inference_are_not_compared(folder):
    before = read_evidence(folder / "evaluation")
    tta = {**SETTINGS, "inference": {"_target_": "tta"}}
    predict(folder / "prediction", read_model(folder / "model"), folder / "truth", settings=tta)
    evaluate(folder / "evaluation", folder / "truth", folder / "prediction")
    after = read_evidence(folder / "evaluation")
    assert (after.model, after.split) == (before.model, before.split)
    assert after.key != before.key
