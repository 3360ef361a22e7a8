import math
import time

import boto3
import numpy as np
import pytest

from maskmill.tracking.run_logger import RunLogger, latest_steps
from maskmill.tracking.runs import Tracking
from maskmill.tracking.store import experiment_id
from maskmill.tracking.unsent import send_unsent
from s3_server import s3_server

pytestmark = pytest.mark.slow  # a real SQLite store


@pytest.fixture
def run_id(store):
    return store.create_run(experiment_id("trial")).info.run_id


def history(store, run_id, key):
    return [(metric.step, metric.value) for metric in store.get_metric_history(run_id, key)]


def test_every_value_arrives_once_and_in_order(store, run_id):
    logger = RunLogger(run_id, flush_seconds=0.05)
    for step in range(1500):  # more than fit one request
        logger.log_metrics({"train/loss": step / 2, "epoch": step // 100}, step)
    logger.finalize("success")
    assert history(store, run_id, "train/loss") == [(step, step / 2) for step in range(1500)]
    assert not history(store, run_id, "epoch")
    assert store.get_run(run_id).info.status == "RUNNING"  # whoever opened the run ends it


def test_values_are_written_in_the_background(store, run_id):
    logger = RunLogger(run_id, flush_seconds=0.05)
    logger.log_metrics({"a": 1.0}, 3)
    deadline = time.monotonic() + 30
    while not history(store, run_id, "a") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert history(store, run_id, "a") == [(3, 1.0)]
    logger.finalize("success")


def test_a_resumed_run_gets_each_step_of_a_key_once(store, run_id):
    first = RunLogger(run_id)
    for step in range(5):
        first.log_metrics({"train/loss": step}, step)
    first.log_metrics({"val/mIoU": math.nan}, 4)
    first.flush()
    again = RunLogger(run_id)
    assert latest_steps(run_id) == {"train/loss": 4, "val/mIoU": 4}
    for step in range(3, 7):  # steps 3 and 4 are repeated
        again.log_metrics({"train/loss": step, "new": step}, step)
    again.finalize("success")
    assert history(store, run_id, "train/loss") == [(step, step) for step in range(7)]
    assert history(store, run_id, "new") == [(step, step) for step in range(3, 7)]
    first.finalize("success")


def test_a_failing_store_is_logged_and_costs_no_training(store, run_id, caplog):
    logger = RunLogger(run_id, flush_seconds=60)
    logger.log_metrics({"a": 1.0}, 0)
    store.delete_run(run_id)  # MLflow refuses values of a deleted run
    logger.finalize("success")
    assert "1 metric values are not in MLflow run" in caplog.text


def test_a_picture_that_the_bucket_refuses_is_kept_and_sent_later(store, caplog):
    with s3_server("other"):
        experiment = store.create_experiment("s3", artifact_location="s3://pictures/runs")
        run_id = store.create_run(experiment).info.run_id
        logger = RunLogger(run_id, flush_seconds=60)
        logger.log_image(np.zeros((8, 8, 3), np.uint8), "first", 16)
        assert "expected its artifact store to answer, but got: Failed to upload" in caplog.text
        assert "NoSuchBucket" in caplog.text
        logger.finalize("success")
        bucket = boto3.resource("s3").create_bucket(Bucket="pictures")
        send_unsent(store)
        names = [item.key for item in bucket.objects.all()]
    assert names == [f"runs/{run_id}/artifacts/pictures/first/step-000016.png"]


def test_other_processes_log_nothing_and_create_no_store(tmp_path, monkeypatch):
    """Two processes that start together would both create its tables, and one would fail."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    logger = RunLogger(None)
    logger.log_metrics({"a": 1.0}, 0)
    logger.log_image(np.zeros((1, 1, 3), np.uint8), "picture", 0)
    logger.set_tags({"b": "c"})
    logger.flush()
    logger.finalize("success")
    assert not list(tmp_path.iterdir())


def test_the_best_score_and_the_pictures_of_a_run_are_shown_by_step(store, run_id):
    logger = RunLogger(run_id, flush_seconds=60)
    logger.log_image(np.zeros((4, 4, 3), np.uint8), "example-0", 16)
    logger.log_best("val/PQ", 0.7862, "a network")
    logger.finalize("success")
    run = store.get_run(run_id)
    assert history(store, run_id, "best_val/PQ") == [(0, 0.7862)]
    assert (
        run.data.tags["mlflow.note.content"] == "a network\n\n- **Validation**: best_val/PQ 78.6 %"
    )
    assert run.data.tags["maskmill.metric"] == "PQ"
    files = [file.path for file in store.list_artifacts(run_id, "images")]
    assert any(path.startswith("images/example-0+step+16+") for path in files)


@pytest.mark.slow
@pytest.mark.parametrize("is_asked", [False, True])
def test_the_use_of_the_machine_is_recorded_if_it_is_asked_for(store, monkeypatch, is_asked):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    with Tracking("machine", "run", system_metrics=is_asked).run(None, {}) as run_id:
        deadline = time.monotonic() + (30 if is_asked else 0.5)
        while not store.get_run(run_id).data.metrics and time.monotonic() < deadline:
            time.sleep(0.1)
    names = {key.partition("/")[0] for key in store.get_run(run_id).data.metrics}
    assert names == ({"system"} if is_asked else set())
