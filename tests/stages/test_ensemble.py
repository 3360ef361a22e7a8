"""An ensemble from the command line: written, predicted, evaluated, registered."""

import pytest

from commands import QUICK, prepare, run
from maskmill.canonical.files import read_json
from maskmill.serving.model_files import read_model
from maskmill.tracking.ensemble_run import MEMBERS_TAG
from maskmill.tracking.lineage import MODEL_TAG
from maskmill.tracking.models import version_of
from maskmill.tracking.store import connect

pytestmark = pytest.mark.slow  # two trainings, and a process for each command


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A project with two models, each trained for an epoch."""
    folder = prepare(tmp_path_factory.mktemp("ensemble"), num_train=4)
    for seed in range(2):
        values = ["trainer.max_epochs=1", f"seed={seed}", f"train.out=out/model_{seed}"]
        run("train", *QUICK, *values, cwd=folder)
    return folder


MODELS = "ensemble.models=[out/model_0,out/model_1]"


def test_an_ensemble_is_registered_like_any_model(trained, monkeypatch):
    output = run("ensemble", MODELS, cwd=trained)
    assert "the mean of 2 models -> out/ensemble" in output
    ensemble = read_model(trained / "out/ensemble")
    members = [read_model(trained / f"out/model_{seed}") for seed in range(2)]
    assert ensemble.members == tuple(member.fingerprint for member in members)
    for command in ("predict", "evaluate", "register"):
        assert "No MLflow run" not in run(command, "train.out=out/ensemble", cwd=trained)
    prediction = read_json(trained / "out/predict/prediction.json")
    assert prediction["model"] == ensemble.fingerprint
    monkeypatch.chdir(trained)
    version = version_of("models:/maskmill/1")
    assert version.tags[MODEL_TAG] == ensemble.fingerprint
    made = connect().get_run(version.run_id)
    assert made.info.run_name == "ensemble"
    assert made.data.tags[MEMBERS_TAG].split() == list(ensemble.members)
    description = made.data.tags["mlflow.note.content"]
    assert "The mean outputs of 2 models." in description
    assert description.count("](#/experiments/1/runs/") >= 2
    assert made.data.metrics["test/PQ"] == read_json(trained / "out/evaluate/metrics.json")["PQ"]


def test_the_same_models_again_are_the_same_model_and_run(trained, monkeypatch):
    run("ensemble", MODELS, cwd=trained)
    before = read_model(trained / "out/ensemble").fingerprint
    run("ensemble", MODELS, cwd=trained)
    assert read_model(trained / "out/ensemble").fingerprint == before
    monkeypatch.chdir(trained)
    assert len(connect().search_runs(["1"], f"tags.`{MODEL_TAG}` = '{before}'")) == 1


def test_a_folder_of_somebody_else_is_not_replaced(trained):
    (trained / "mine").mkdir()
    (trained / "mine/notes.txt").write_text("mine")
    output = run("ensemble", MODELS, "ensemble.out=mine", cwd=trained, status=1)
    assert "found other files (notes.txt)" in output
    assert (trained / "mine/notes.txt").read_text() == "mine"


def test_models_are_required(trained):
    output = run("ensemble", cwd=trained, status=1)
    assert "Expected two or more models in `ensemble.models`, but got []" in output
