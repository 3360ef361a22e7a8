"""A team's server on PostgreSQL and S3 is shared by many processes, and outages cost no metric."""

import math
import threading
import time
from contextlib import ExitStack

import boto3
import mlflow
import numpy as np
import pytest

from maskmill.tracking.run_logger import RunLogger
from maskmill.tracking.runs import Tracking
from maskmill.tracking.store import connect
from maskmill.tracking.unsent import send_unsent, unsent_runs
from mlflow_server import mlflow_server
from postgres_server import INSTALL, postgres_programs, postgres_server
from s3_server import s3_server
from tracked_processes import complete_runs, track_together

HAS_POSTGRES = postgres_programs() is not None

pytestmark = pytest.mark.slow  # a real server, which takes many seconds to start


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    with ExitStack() as stack:
        database = f"sqlite:///{folder}/server.db"
        if HAS_POSTGRES:
            database = stack.enter_context(postgres_server())
        bucket = stack.enter_context(s3_server("runs"))
        yield stack.enter_context(mlflow_server(folder, database=database, artifacts=bucket))


@pytest.fixture
def server(gate, tmp_path, monkeypatch):
    """A server that runs, used by a project in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", gate.uri)
    gate.open()
    yield gate
    gate.close()
    mlflow.set_tracking_uri(None)


def history(run_id, key):
    metrics = connect().get_metric_history(run_id, key)
    return [(metric.step, metric.value) for metric in metrics]


@pytest.mark.skipif(not HAS_POSTGRES, reason=INSTALL)
def test_sixteen_processes_share_postgresql_and_s3(server, tmp_path):
    outputs = track_together(tmp_path, MLFLOW_TRACKING_URI=server.uri)
    lines = [line for output in outputs for line in output.splitlines()]
    assert {line[2:10] for line in lines} == {"View run", "View exp"}  # MLflow's links alone
    runs = complete_runs(mlflow.MlflowClient(server.uri))
    folders = {run.info.artifact_uri.partition("/")[0] for run in runs}
    assert folders == {"mlflow-artifacts:"}  # clients need no key of the bucket
    keys = [item["Key"] for item in boto3.client("s3").list_objects(Bucket="runs")["Contents"]]
    for run in runs:
        folder = f"{run.info.experiment_id}/{run.info.run_id}/artifacts/images/last+step+60"
        assert any(key.startswith(folder) for key in keys)


def test_metrics_of_an_outage_arrive_once_and_in_order(server, tmp_path, caplog):
    caplog.set_level("INFO")
    tracking = Tracking("outage", "first", system_metrics=False)
    with tracking.run(None, {"maskmill.training": "a"}) as run_id:
        logger = RunLogger(run_id, flush_seconds=0.2)
        logger.log_metrics({"loss": 0.0}, 0)
        logger.flush()
        server.close()
        start = time.monotonic()
        for step in range(1, 700):
            logger.log_metrics({"loss": step / 2, "score": math.nan}, step)
            if step % 200 == 0:
                logger.flush()  # before a checkpoint
        assert time.monotonic() - start < 100  # retries of each flush take minutes
        assert "the training continues, and its metrics are sent when" in caplog.text
        assert len(unsent_runs()[0].metrics()) == 1200  # two keys of 600 steps
        server.open()
        deadline = time.monotonic() + 60
        while "MLflow answers again" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.1)
        logger.finalize("success")
    assert history(run_id, "loss") == [(step, step / 2) for step in range(700)]
    assert len(history(run_id, "score")) == 699
    assert connect().get_run(run_id).info.status == "FINISHED"
    assert unsent_runs() == []


def test_what_a_server_does_not_get_until_the_end_is_sent_by_the_next_start(server, caplog):
    caplog.set_level("INFO")
    picture = np.zeros((8, 8, 3), np.uint8)
    tracking = Tracking("outage", "second", system_metrics=False)
    with tracking.run(None, {"maskmill.training": "b"}) as run_id:
        logger = RunLogger(run_id, flush_seconds=60)
        server.close()
        logger.log_metrics({"loss": 1.5}, 7)
        logger.log_image(picture, "example-0", 7)
        logger.finalize("success")
        logger.set_tags({"maskmill.model": "abc"})
    for thread in threading.enumerate():
        if thread.name == "mlflow-writer":  # its last try must not find the server again
            thread.join(timeout=60)
            assert not thread.is_alive()
    assert "1 metric values are not in MLflow run" in caplog.text
    assert "the next `maskmill train` sends them" in caplog.text
    server.open()
    assert connect().get_run(run_id).info.status == "RUNNING"
    send_unsent(connect())
    run = connect().get_run(run_id)
    assert history(run_id, "loss") == [(7, 1.5)]
    assert run.data.tags["maskmill.model"] == "abc"
    assert run.info.status == "FINISHED"
    folder = "pictures/example-0"
    (artifact,) = connect().list_artifacts(run_id, folder)
    assert artifact.path == f"{folder}/step-000007.png"
    assert unsent_runs() == []
    assert f"sent 1 kept metric values to MLflow run {run_id}" in caplog.text
