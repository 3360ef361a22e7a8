"""The real server with a model that is quick to load: the class of a pixel is its brightness.

Run as a program with the options as JSON; the pixel at the top left can slow a prediction down or
make it fail.
"""

import functools
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import encode_png
from maskmill.postprocess.prediction import Prediction
from maskmill.serving.server.worker import ServedModel
from mlflow_server import free_port

DARK, BRIGHT = 7, 21
CATEGORIES = Categories(
    [
        Category(DARK, "dark <b>", False, (0, 60, 140)),
        Category(BRIGHT, "bright", True, (240, 170, 0)),
    ]
)
SLOW = (1, 2, 3)  # the top left pixel of an image that takes SLOW_S
SLOW_S = 0.5
HANGS = (4, 5, 6)
FAILS = (7, 8, 9)
STARTUP_S = 120
KEY = "a key of 16 characters or more"
OPTIONS = {
    **{"workers": 1, "max_batch": 4, "max_wait_ms": 0, "follow_s": 0.05, "max_queue": 16},
    **{"timeout_s": 20, "api_key": None, "max_bytes": 2_000_000, "model": "brightness", "log": ""},
}


def predict(images):
    return [_predict_one(image) for image in images]


def _predict_one(image):
    corner = tuple(image[0, 0].tolist())
    if corner == FAILS:
        raise RuntimeError("a network that fails")
    time.sleep({SLOW: SLOW_S, HANGS: 3600}.get(corner, 0))
    is_bright = image.mean(axis=2) >= 128
    ids = np.where(is_bright, 2, 1).astype(np.int32)
    panoptic = Panoptic.from_ids(ids, {1: DARK, 2: BRIGHT}, scores={1: 0.75, 2: 0.5})
    return Prediction(panoptic.category_map(), panoptic)


def load(name):
    """The model; its fingerprint is its name, so that answers show which version gave them."""
    if name.endswith("/damaged"):
        raise ValueError(f"{name}: expected a model, but it is damaged - train it again")
    return ServedModel(predict, CATEGORIES, f"fingerprint of {name}")


def behind(model):
    """The name of the model to serve; one that begins with `behind` is in a file."""
    return Path(model.removeprefix("behind ")).read_text() if "behind " in model else model


def image(height=48, width=64, corner=None):
    """Dark at the left, bright at the right."""
    rgb = np.full((height, width, 3), 20, np.uint8)
    rgb[:, width // 2 :] = 220
    if corner is not None:
        rgb[0, 0] = corner
    return rgb


def png(*size, corner=None):
    return encode_png(image(*size, corner=corner))


def jpeg(height=48, width=64):
    return cv2.imencode(".jpg", image(height, width))[1].tobytes()


class Server:
    """A running server.

    Args:
        process: of the front.
        port: of this machine.
    """

    def __init__(self, process, port):
        self.process = process
        self.port = port

    def request(self, method, path, body=None, headers=None, timeout=30):
        """Status, headers and body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, {"X-API-Key": KEY} | (headers or {}))
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def predict(self, data, query="", headers=None):
        status, _, body = self.request("POST", f"/predict{query}", data, headers)
        return status, json.loads(body)

    def health(self):
        status, _, body = self.request("GET", "/health")
        return status, json.loads(body)

    def wait_until(self, condition, timeout_s=STARTUP_S):
        deadline = time.monotonic() + timeout_s
        while not condition(self):
            assert time.monotonic() < deadline, "the server did not get there"
            assert self.process.poll() is None, "the server ended"
            time.sleep(0.02)


def is_healthy(server):
    try:
        return server.health()[0] == 200
    except OSError:
        return False


@contextmanager
def running(folder, *, wait=True, **options):
    """A server with its log in `folder`."""
    port = free_port()
    text = json.dumps(OPTIONS | options | {"port": port})
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__)), text],
            stdout=log,
            stderr=log,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
    server = Server(process, port)
    try:
        if wait:
            server.wait_until(is_healthy)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def main():
    import logging

    from maskmill.serving.server.application import create_application
    from maskmill.serving.server.http_server import run_server
    from maskmill.serving.server.metrics import Metrics
    from maskmill.serving.server.service import Batching, Service
    from maskmill.serving.server.uploads import Limits

    logging.basicConfig(level=logging.INFO)
    options = json.loads(sys.argv[1])
    keys = ("workers", "max_batch", "max_wait_ms", "follow_s")
    batching = Batching(**{key: options[key] for key in keys})
    keys = ("max_bytes", "max_queue", "timeout_s")
    limits = Limits(max_pixels=1_000_000, min_side_px=8, **{key: options[key] for key in keys})
    service = Service(
        load,
        functools.partial(behind, options["model"]),
        batching=batching,
        limits=limits,
        metrics=Metrics(),
    )
    application = create_application(service, api_key=options["api_key"])
    run_server(application, service, host="127.0.0.1", port=options["port"])


if __name__ == "__main__":
    main()
