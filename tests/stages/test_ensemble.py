"""An ensemble from the command line: written, predicted, evaluated, registered."""

import mlflow
import pytest

from commands import QUICK, prepare, run, start
from maskmill.canonical.files import read_json
from maskmill.serving.model_files import read_model
from maskmill.tracking.ensemble_run import MEMBERS_TAG
from maskmill.tracking.lineage import MODEL_TAG

pytestmark = pytest.mark.slow  # two trainings, and a process for each command


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A project with two models, each trained for an epoch."""
    folder = prepare(tmp_path_factory.mktemp("ensemble"), num_train=4)
    for seed in range(2):
        values = ["trainer.max_epochs=1", f"seed={seed}", f"train.out=out/model_{seed}"]
        run("train", *QUICK, *values, cwd=folder)
    return folder


def store_of(folder):
    return mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


MODELS = "ensemble.models=[out/model_0,out/model_1]"


def test_an_ensemble_is_registered_like_any_model(trained):
    output = run("ensemble", MODELS, cwd=trained)
    assert "the mean of 2 models -> out/ensemble" in output
    ensemble = read_model(trained / "out/ensemble")
    members = [read_model(trained / f"out/model_{seed}") for seed in range(2)]
    assert ensemble.members == tuple(member.fingerprint for member in members)
    for command in ("predict", "evaluate", "register"):
        assert "No MLflow run" not in run(command, "train.out=out/ensemble", cwd=trained)
    prediction = read_json(trained / "out/predict/prediction.json")
    assert prediction["model"] == ensemble.fingerprint
    client = store_of(trained)
    version = client.get_model_version("maskmill", "1")
    assert version.tags[MODEL_TAG] == ensemble.fingerprint
    made = client.get_run(version.run_id)
    assert made.info.run_name == "ensemble"
    assert made.data.tags[MEMBERS_TAG].split() == list(ensemble.members)
    description = made.data.tags["mlflow.note.content"]
    assert "The mean outputs of 2 models." in description
    assert description.count("](#/experiments/1/runs/") >= 2
    reproduced = run("reproduce", "reproduce.model=models:/maskmill/1", cwd=trained, status=1)
    assert "it is an ensemble - reproduce its models" in reproduced
    watched = ["monitor.model=out/ensemble", "monitor.images=out/prepare/test/images"]
    monitored = run("monitor", *watched, cwd=trained, status=1)
    assert "an ensemble has none - monitor one of its models" in monitored
    assert made.data.metrics["test/PQ"] == read_json(trained / "out/evaluate/metrics.json")["PQ"]


def test_the_same_models_again_are_the_same_model_and_run(trained):
    run("ensemble", MODELS, cwd=trained)
    before = read_model(trained / "out/ensemble").fingerprint
    run("ensemble", MODELS, cwd=trained)
    assert read_model(trained / "out/ensemble").fingerprint == before
    assert len(store_of(trained).search_runs(["1"], f"tags.`{MODEL_TAG}` = '{before}'")) == 1


def test_its_run_is_made_later_where_the_store_cannot_be_reached(trained):
    models = "ensemble.models=[out/model_1,out/model_0]"
    away = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    process = start("ensemble", models, "ensemble.out=out/later", cwd=trained, **away)
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output
    assert "the model is written, and the same command adds its run later" in output
    for command in ("predict", "evaluate", "register"):
        run(command, "train.out=out/later", "register.name=later", cwd=trained)
    client = store_of(trained)
    made = client.get_run(client.get_model_version("later", "1").run_id)
    assert made.info.run_name == "ensemble"
    assert len(made.data.tags[MEMBERS_TAG].split()) == 2


def test_a_folder_of_somebody_else_is_not_replaced(trained):
    (trained / "mine").mkdir()
    (trained / "mine/notes.txt").write_text("mine")
    output = run("ensemble", MODELS, "ensemble.out=mine", cwd=trained, status=1)
    assert "found other files (notes.txt)" in output
    assert (trained / "mine/notes.txt").read_text() == "mine"


def test_models_are_required(trained):
    output = run("ensemble", cwd=trained, status=1)
    assert "Expected 2 to 32 models in `ensemble.models`, but got 0" in output
