from pathlib import Path

import mlflow
import pytest

from maskmill.tracking.lineage import MODEL_TAG, find_run
from maskmill.tracking.origin import Origin, record_origin
from maskmill.tracking.restored import restored_run

ORIGINAL = Origin("a" * 32, "c" * 40, "lr-high")
TAGS = {MODEL_TAG: "f" * 64, "data_hash": "d"}
HISTORY = [
    {"epoch": 0.5, "step": 3, "train/loss": 2.0},
    {"epoch": 1, "step": 6, "train/loss": 1.0, "val/PQ": 0.25, "score": 0.25},
]


@pytest.fixture
def pulled(store, monkeypatch):
    """A clone that pulled a model and the file that names its origin."""
    monkeypatch.setenv("DVC_STAGE", "train")
    record_origin(TAGS[MODEL_TAG], ORIGINAL)
    return store


@pytest.mark.slow
def test_the_database_of_a_clone_gets_a_copy_with_the_id_of_the_original(pulled, tmp_path):
    configuration = tmp_path / "train.yaml"
    configuration.write_text("seed: 0\n")
    params = {"network": "unet", "lr": "0.001"}
    run = restored_run(TAGS, history=HISTORY, configuration=configuration, params=params)
    assert run.info.run_id == ORIGINAL.run
    assert run.info.status == "FINISHED"
    assert run.data.tags.items() >= (TAGS | ORIGINAL.tags).items()
    assert run.data.metrics == {"train/loss": 1.0, "val/PQ": 0.25}
    assert run.data.params == params
    steps = [metric.step for metric in pulled.get_metric_history(ORIGINAL.run, "train/loss")]
    assert steps == [3, 6]
    artifact = mlflow.artifacts.download_artifacts(
        run_id=ORIGINAL.run, artifact_path="config/train.yaml"
    )
    assert Path(artifact).read_text() == "seed: 0\n"
    assert (tmp_path / f"mlruns/maskmill/{ORIGINAL.run}/artifacts/config/train.yaml").is_file()
    assert find_run(TAGS[MODEL_TAG]).info.run_id == ORIGINAL.run


def test_a_store_that_has_the_original_run_gets_no_other(pulled):
    original = pulled.create_run("0", tags={"git_commit": "first"})
    record_origin("e" * 64, Origin(original.info.run_id, "first"))
    run = restored_run({**TAGS, MODEL_TAG: "e" * 64}, history=HISTORY)
    assert run.info.run_id == original.info.run_id
    assert run.data.tags["git_commit"] == "first"
    assert run.data.metrics == {}
    assert "restored_from_cache" not in run.data.tags


@pytest.mark.slow
def test_where_the_original_was_deleted_the_tags_of_a_new_run_name_it(pulled):
    restored_run(TAGS)
    pulled.delete_run(ORIGINAL.run)
    run = restored_run(TAGS)
    assert run.info.run_id != ORIGINAL.run
    assert run.data.tags["trained_by_run"] == ORIGINAL.run
    assert run.data.tags["git_commit"] == ORIGINAL.commit


def test_a_model_of_unknown_origin_is_announced(store, caplog):
    run = restored_run(TAGS)
    assert "lineage.yaml does not name one: a new run is added" in caplog.text
    assert "trained_by_run" not in run.data.tags
    assert run.data.tags["restored_from_cache"] == "true"
