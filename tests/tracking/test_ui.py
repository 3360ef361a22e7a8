"""MLflow's pages in a real browser, as `maskmill ui` opens them."""

import itertools
import json
import time

import pytest

from browser import browser_page
from commands import start
from maskmill.tracking.runs import Tracking, log_inputs
from maskmill.tracking.store import connect, experiment_id
from maskmill.tracking.ui import latest_experiment
from maskmill.tracking.views import VIEW_TAG
from mlflow_server import free_port

SPLITS = {"train": {"num_images": 5}, "val": {"num_images": 2}}
DESCRIBED = {"source": "Drawn", "digest": "f" * 64, "problems": [], "findings": []}


def text_with(page, words):
    page.wait_until(f"document.body.innerText.includes({json.dumps(words)})", timeout_s=120)
    return page.run("document.body.innerText")


@pytest.mark.slow
def test_the_pages_open_on_the_runs_with_scores_and_choices_as_columns(store, tmp_path):
    tracking = Tracking("maskmill", "first run", system_metrics=False)
    with tracking.run(None, {}) as run_id:
        log_inputs({"network": "unet", "lr": "0.125"}, DESCRIBED | {"splits": SPLITS}, {})
    store.log_metric(run_id, "test/mIoU", 0.8125)
    port = free_port()
    server = start("ui", f"ui.port={port}", cwd=tmp_path)
    try:
        lines = iter(server.stdout.readline, "")
        address = f"runs and models: http://127.0.0.1:{port}"
        before = list(itertools.takewhile(lambda line: address not in line, lines))
        assert "deprecated" not in "".join(before)
        with browser_page(tmp_path) as page:
            page.open(f"http://127.0.0.1:{port}", width=1400, height=1000)
            runs = text_with(page, "first run")
            for words in ("Model training", "test/mIoU", "0.8125", "network", "unet", "0.125"):
                assert words in runs
            assert "Ask questions about" not in runs  # the panel of the assistant
            experiment = experiment_id("maskmill")
            page.run(f"location.hash = '/experiments/{experiment}/runs/{run_id}'")
            run = text_with(page, "Parameters (2)")
            assert "unet on Drawn (5 train, 2 val images)" in run
            assert "Inputs: config/train.yaml, data/dataset.json" in run
    finally:
        server.kill_group()
        server.wait()


def test_an_experiment_of_an_earlier_version_gets_its_view(store):
    tags = {"mlflow.experimentKind": "custom_model_development"}
    old = store.create_experiment("old", tags=tags)
    time.sleep(0.01)
    store.create_experiment("another program's")
    assert latest_experiment(connect()) == old
    view = json.loads(store.get_experiment(old).tags[VIEW_TAG])
    assert "params.`network`" in json.loads(view["state"])["selectedColumns"]


@pytest.mark.slow
def test_a_server_has_the_pages_itself(tmp_path):
    process = start("ui", cwd=tmp_path, MLFLOW_TRACKING_URI="http://me:secret@127.0.0.1:1")
    output = process.communicate()[0]
    assert process.returncode == 1
    assert "MLFLOW_TRACKING_URI=http://127.0.0.1:1: expected a database, but got a server" in output
    assert "open this address in a browser" in output
