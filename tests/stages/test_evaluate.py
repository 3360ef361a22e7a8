"""The program `evaluate` as it is run: a process, Hydra, files."""

import json
import re
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from commands import result, start
from drawn_evaluations import predict, write_tiny_model
from drawn_folders import moved, scene, write_instances, write_split
from maskmill.assembly.build import build
from maskmill.assembly.settings import EvaluateSettings
from maskmill.canonical.files import file_digest, read_json
from maskmill.canonical.folder import PanopticFolder
from maskmill.canonical.png import write_rgb
from maskmill.evaluation.analysis import Analysis
from maskmill.evaluation.bootstrap import Resampling
from maskmill.evaluation.evaluation import evaluate_folders
from maskmill.reporting.evaluation_folder import write_evaluation
from maskmill.reporting.examples import Gallery

FILES = {
    ".maskmill.json",
    "confusion.csv",
    "counts.csv",
    "headlines.json",
    "metrics.json",
    "per_class.csv",
    "per_image.csv",
    "plots/classes.svg",
    "plots/confusion.svg",
    "plots/pq.svg",
    "report.html",
    "slices.csv",
}
SOMETIMES = {"differences.csv"}  # if there is a baseline


def run(*overrides, cwd):
    return result("evaluate", *(f"evaluate.{override}" for override in overrides), cwd=cwd)


def write_folders(root, num_images):
    """The folders truth, guess and before in a folder, and tags of all images but the second."""
    truths = [scene(seed) for seed in range(num_images)]
    write_split(root / "truth", truths, images=True)
    for name, by in (("guess", 2), ("before", 4)):
        labels = [moved(truth, by=by) for truth in truths]
        write_instances(write_split(root / name, labels), labels)
    rows = ["image,weather", "001.png,sun"]
    rows += [f"{number:03}.png,rain" for number in range(3, num_images + 1)]
    (root / "tags.csv").write_text("\n".join(rows))
    return root


@pytest.fixture
def folders(tmp_path):
    return write_folders(tmp_path, num_images=3)


def everything(folder):
    return sorted(path.name for path in folder.iterdir())


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_coco_json_files_get_the_scores_of_panopticapi(third_party_data, tmp_path):
    name = "pred_shift"
    golden = third_party_data / "golden" / "coco_panoptic_pq"
    done = run(
        f"target={golden / 'gt.json'}",
        f"prediction={golden / name}.json",
        "out=scores",
        "workers=1",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"PQ \d+\.\d\d %  mIoU \d+\.\d\d % -> scores", done.stdout)
    expected = read_json(golden / "expected.json")[name]
    metrics = read_json(tmp_path / "scores" / "metrics.json")
    for group, suffix in (("All", ""), ("Things", "/thing"), ("Stuff", "/stuff")):
        for short in ("pq", "sq", "rq"):
            assert metrics[f"{short.upper()}{suffix}"] == pytest.approx(
                expected[group][short], abs=1e-12
            )
    assert files(tmp_path / "scores") == FILES
    assert everything(tmp_path) == ["scores"]


@pytest.mark.slow
def test_void_in_the_union_lowers_the_iou_of_segments_beside_it(folders):
    settings = ["target=truth", "prediction=guess", "num_resamples=0", "out=scores"]
    done = run(*settings, "void_in_union=true", cwd=folders)
    assert done.returncode == 0, done.stdout + done.stderr
    left_in = read_json(folders / "scores" / "metrics.json")
    taken_out = evaluate_folders(folders / "truth", folders / "guess").scores()
    assert left_in["SQ/stuff"] < taken_out["SQ/stuff"]  # the unlabelled corner lies on the ground
    assert left_in["mIoU"] == taken_out["mIoU"]


@pytest.mark.slow
def test_two_processes_write_the_same_bytes_as_one(tmp_path):
    folders = write_folders(tmp_path, num_images=19)  # in chunks of 16: 16 and 3
    for workers in (1, 2):
        settings = [
            "target=truth",
            "prediction=guess",
            "baseline=before",
            "tags=tags.csv",
            "num_resamples=50",
            f"out=scores{workers}",
            f"workers={workers}",
        ]
        done = run(*settings, cwd=folders)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "1 of 19 images have no row and are untagged: 002.png" in done.stdout + done.stderr
    assert files(folders / "scores1") == FILES | SOMETIMES
    for name in FILES | SOMETIMES:
        assert (folders / "scores1" / name).read_bytes() == (
            folders / "scores2" / name
        ).read_bytes(), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workers": 0}, "workers: expected int, but got 0 .*greater than or equal to 1"),
        ({"num_resamples": -1}, "num_resamples: expected int, but got -1 .*or equal to 0"),
        ({"num_examples": -1}, "num_examples: expected int, but got -1 .*or equal to 0"),
        ({"void": "maybe"}, r"void: expected Literal\['auto', 'ignore', 'background'\], .*'maybe'"),
    ],
)
def test_a_setting_out_of_range_is_named(repository, change, message):
    settings = OmegaConf.to_container(OmegaConf.load(repository / "conf/evaluate/default.yaml"))
    paths = {"target": "truth", "prediction": "guess", "out": "scores", "model": "model"}
    cfg = OmegaConf.create({"evaluate": {**settings, **paths, **change}})
    with pytest.raises(ValueError, match=rf"^evaluate\.{message}"):
        build(cfg.evaluate, EvaluateSettings)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "target=nowhere",
            "nowhere: expected a folder with panoptic.json or a COCO panoptic JSON file",
        ),
        (
            "out=keep",
            "keep: expected a new folder or one that `maskmill evaluate` wrote, but found other "
            "files (letter.txt)",
        ),
        ("out=.", "found the current directory or a parent of it"),
        ("baseline=nowhere", "nowhere: expected a folder with panoptic.json"),
        (
            "tags=keep/letter.txt",
            "keep/letter.txt: expected the header image,<tag>[,<tag>...] with different names, "
            "but got 'dear'",
        ),
    ],
)
def test_a_setting_that_cannot_be_used_gives_one_message_and_no_files(folders, override, message):
    (folders / "keep").mkdir()
    (folders / "keep" / "letter.txt").write_text("dear")
    before = everything(folders)
    done = run("target=truth", "prediction=guess", "out=scores", "workers=1", override, cwd=folders)
    assert done.returncode == 1
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert everything(folders) == before
    assert (folders / "keep" / "letter.txt").read_text() == "dear"


@pytest.mark.slow  # MLflow makes its database
def test_a_prediction_by_a_model_without_a_run_is_scored_with_a_warning(folders):
    paths = sorted((folders / "truth" / "images").iterdir())
    digests = {path.name: file_digest(path) for path in paths}
    origin = {"model": "0123456789abcdef" * 4, "images": digests}
    (folders / "guess" / "prediction.json").write_text(json.dumps(origin))
    done = run("target=truth", "prediction=guess", "out=scores", "workers=1", cwd=folders)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No MLflow run for model 0123456789ab" in done.stdout + done.stderr
    assert files(folders / "scores") == FILES | {"evidence.json"}


@pytest.mark.slow
def test_an_earlier_evaluation_is_replaced(folders):
    for prediction in ("guess", "truth"):
        assert (
            run(
                "target=truth", f"prediction={prediction}", "out=scores", "workers=1", cwd=folders
            ).returncode
            == 0
        )
    assert read_json(folders / "scores" / "metrics.json")["PQ"] == 1


def test_a_report_that_fails_leaves_the_earlier_evaluation(tmp_path):
    target = write_split(tmp_path / "truth", [scene(0)], images=True)
    analysis = Analysis(evaluate_folders(target, target), Resampling(5))
    gallery = Gallery.from_folders(
        analysis,
        PanopticFolder(target),
        target,
        images=target / "images",
        num_examples=1,
        baseline=None,
    )
    out = write_evaluation(tmp_path / "out", gallery)
    before = {name: (out / name).read_bytes() for name in files(out)}
    write_rgb(
        target / "images" / "001.png",
        scene(0, height=9).ids[..., None].repeat(3, 2).astype("uint8"),
    )
    with pytest.raises(ValueError, match=r"001\.png: expected 24 x 32 pixels"):
        write_evaluation(out, gallery)
    assert {name: (out / name).read_bytes() for name in files(out)} == before
    assert everything(tmp_path) == ["out", "truth"]


@pytest.mark.slow
def test_no_heavy_library_is_imported():
    heavy = ["torch", "torchmetrics", "lightning", "mlflow", "albumentations"]
    code = f"""
import sys, maskmill.stages.evaluate
import maskmill.assembly.scoring
found = set({heavy}) & set(sys.modules)
assert not found, found"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_scores_are_kept_when_the_tracking_server_is_down(tmp_path):
    model = write_tiny_model(tmp_path / "model")
    truth = write_split(tmp_path / "truth", [scene(0)], images=True)
    predict(tmp_path / "prediction", model, truth)
    process = start(
        "evaluate",
        *("evaluate.target=truth", "evaluate.prediction=prediction", "evaluate.out=scores"),
        cwd=tmp_path,
        MLFLOW_TRACKING_URI="http://127.0.0.1:9",
    )
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    message = output.splitlines()[-1]
    assert "http://127.0.0.1:9: expected" in message
    assert "the evaluation is in scores, and `maskmill register` adds it later" in message
    assert read_json(tmp_path / "scores" / "metrics.json")["PQ"] > 0


@pytest.mark.slow
def test_lists_of_folders_are_scored_as_one_data_set(tmp_path):
    for number in range(2):
        targets = [scene(10 * number + index) for index in range(2)]
        names = [f"{number}_{index}.png" for index in range(2)]
        write_split(tmp_path / f"target_{number}", targets, images=True, names=names)
        labels = [moved(target) for target in targets]
        write_split(tmp_path / f"pred_{number}", labels, names=names)
    lists = "target=[target_0,target_1]"
    done = run(lists, "prediction=[pred_0,pred_1]", "out=scores", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "2 data sets as one -> scores_joined" in done.stdout
    assert "scores of several data sets are not added to MLflow" in done.stdout
    rows = (tmp_path / "scores/per_image.csv").read_text().splitlines()
    assert {row.partition(",")[0] for row in rows[1:]} == {
        "0_0.png",
        "0_1.png",
        "1_0.png",
        "1_1.png",
    }
    scores = evaluate_folders(
        tmp_path / "scores_joined/target", tmp_path / "scores_joined/prediction"
    )
    assert read_json(tmp_path / "scores/metrics.json")["PQ"] == scores.scores()["PQ"]
    refused = run(lists, "prediction=pred_0", "out=scores", cwd=tmp_path)
    assert refused.returncode == 1
    assert "as many folders in `evaluate.prediction` as in `evaluate.target`" in refused.stdout
    assert "got 1 and 2 - list them in the same order" in refused.stdout
    empty = run("target=[]", "prediction=[]", "out=scores", cwd=tmp_path)
    assert "got 0 and 0 - list them" in empty.stdout
