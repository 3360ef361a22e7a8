"""MLflow's pages of the repository's own runs, in one process.

`mlflow ui` imports MLflow twice and starts nine more processes, for jobs on language models.
"""

import json
import logging
import os
import warnings
from pathlib import Path

import mlflow
import uvicorn
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from maskmill.tracking.address import repository_root, tracking_uri
from maskmill.tracking.relocation import ARTIFACTS, local_uri
from maskmill.tracking.store import connect
from maskmill.tracking.views import KIND, VIEW_TAG, experiment_tags, page_state

log = logging.getLogger(__name__)

# Settings of MLflow's pages, which a browser keeps; those that it has are not changed.
START = {
    "mlflow.workflowType_v1": json.dumps("machine_learning"),  # not language models
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",  # its panel takes a quarter of a page
}
EXPERIMENT_PAGE = 'MLflowLocalStorage-1.1-ExperimentPage-["{}"]-ReactComponentState'
SCRIPT = """<script>
for (const [key, value] of Object.entries({start}))
  if (localStorage.getItem(key) === null) localStorage.setItem(key, value)
if (!location.hash) location.hash = {page}
</script>"""


def serve_pages(host: str, port: int) -> None:
    """Serve MLflow's pages until the process is ended.

    Args:
        host: address to listen on.
        port: TCP port.
    """
    uri = tracking_uri()
    experiment = latest_experiment(connect())
    with warnings.catch_warnings():  # MLflow imports it, so nobody who reads this can do anything
        warnings.filterwarnings("ignore", message="starlette.middleware.wsgi is deprecated")
        from mlflow.server import app as pages  # seconds to import: not for --help
        from mlflow.server import constants
        from mlflow.server.fastapi_app import app

    os.environ |= {
        constants.BACKEND_STORE_URI_ENV_VAR: uri,
        constants.REGISTRY_STORE_URI_ENV_VAR: uri,
        constants.ARTIFACT_ROOT_ENV_VAR: local_uri(repository_root() / ARTIFACTS),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    start = START | {EXPERIMENT_PAGE.format(experiment): page_state()}
    page = "/experiments" + (f"/{experiment}/runs" if experiment else "")
    script = SCRIPT.format(start=json.dumps(start), page=json.dumps(page))
    index = (Path(str(pages.static_folder)) / "index.html").read_text(encoding="utf-8")
    text = index.replace("<head>", f"<head>{script}", 1)

    async def first(request: Request) -> Response:
        return HTMLResponse(text)

    app.router.routes.insert(0, Route("/", first))
    log.info("runs and models: http://%s:%d", host, port)
    uvicorn.run(app, host=host, port=port, log_level="warning")


def latest_experiment(client: mlflow.MlflowClient) -> str | None:
    """The id of the experiment used last; one of an earlier version gets a description and view."""
    ((key, value),) = KIND.items()
    query = f"tags.`{key}` = '{value}'"
    latest = ["last_update_time DESC"]
    found = client.search_experiments(filter_string=query, order_by=latest, max_results=1)
    if not found:
        return None
    experiment = found[0]
    if VIEW_TAG not in experiment.tags:
        for name, text in experiment_tags().items():
            client.set_experiment_tag(experiment.experiment_id, name, text)
    return str(experiment.experiment_id)
