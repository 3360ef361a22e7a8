"""A worker process: image bytes in, bodies of answers out; the network is only here.

Three threads overlap: the next batch is decoded and the last one encoded while the network runs.
"""

import logging
import queue
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np

from maskmill.canonical.categories import Categories
from maskmill.canonical.png import RGB
from maskmill.postprocess.prediction import Prediction
from maskmill.serving.server.answers import MEDIA_TYPES, AnswerWriter
from maskmill.serving.server.frames import pack, receive_frame
from maskmill.serving.server.refusal import Refusal
from maskmill.sources.finding import Findings
from maskmill.sources.images import decode_photo

log = logging.getLogger(__name__)

WARM_UP = np.zeros((64, 64, 3), np.uint8)

Observe = Callable[[RGB, Prediction], None]


@dataclass(frozen=True)
class ServedModel:
    """What a worker needs of a model.

    Args:
        predict: predictions of images of one size, in order.
        categories: of the model.
        fingerprint: sha256 that identifies the model.
        observe: called with each image and its prediction after the answer was sent; None: nothing
            is recorded. An exception of it is logged and changes no answer.
    """

    predict: Callable[[Sequence[RGB]], Iterable[Prediction]]
    categories: Categories
    fingerprint: str
    observe: Observe | None = None


Load = Callable[[str], ServedModel]  # of a folder, or models:/NAME/VERSION


@dataclass
class _Job:
    """One image on its way through a worker; `problem` replaces the prediction."""

    number: int
    form: str
    image: RGB | None = None
    prediction: Prediction | None = None
    problem: Refusal | None = None


@dataclass
class _Batch:
    jobs: list[_Job] = field(default_factory=list)


def run_worker(connection: socket.socket, load: Load, name: str) -> None:
    """Load a model and answer batches until the front closes the connection.

    Args:
        connection: to the front.
        load: loads the model; its ValueError or OSError is sent to the front, and the worker ends.
        name: of the model, for `load` and for the answers.
    """
    # The front ends its workers by closing the connection, so that they finish their batches, even
    # when a terminal or a service manager sends the signal to all processes of the group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        model = load(name)
        list(model.predict([WARM_UP]))  # the first prediction of a process is the slowest
    except (ValueError, OSError, MemoryError) as error:
        connection.sendall(pack({"failed": str(error) or type(error).__name__}))
        return
    connection.sendall(pack({"ready": True, "fingerprint": model.fingerprint}))
    _Worker(connection, model, name).run()


def public_name(name: str) -> str:
    """What clients see of a model's name: of a folder, not where it lies."""
    return name if name.startswith("models:/") else PurePath(name).name


class _Worker:
    def __init__(self, connection: socket.socket, model: ServedModel, name: str) -> None:
        self.connection = connection
        self.model = model
        about = {"name": public_name(name), "fingerprint": model.fingerprint}
        self.writer = AnswerWriter(model.categories, about)
        self.sending = threading.Lock()
        self.decoded: queue.Queue[_Batch | None] = queue.Queue(maxsize=1)
        self.predicted: queue.Queue[_Batch | None] = queue.Queue(maxsize=2)

    def run(self) -> None:
        """Predict until the connection is closed and all that was read is answered."""
        threads = [threading.Thread(target=self._read), threading.Thread(target=self._write)]
        for thread in threads:
            thread.start()
        while (batch := self.decoded.get()) is not None:
            self._predict(batch)
            self._send({"free": True})
            self.predicted.put(batch)
        self.predicted.put(None)
        for thread in threads:
            thread.join()

    def _read(self) -> None:
        """Decode the images of each batch."""
        while True:
            try:
                frame = receive_frame(self.connection)
            except OSError:
                frame = None
            if frame is None:
                break
            self.decoded.put(_decoded(*frame))
        self.decoded.put(None)

    def _predict(self, batch: _Batch) -> None:
        """Predict a batch; if that fails, image by image, so that one does not spoil the others."""
        jobs = [job for job in batch.jobs if job.image is not None]
        if self._predict_together(jobs) is None:
            return
        for job in jobs:
            problem = self._predict_together([job])
            if problem is not None:
                job.problem = problem

    def _predict_together(self, jobs: Sequence[_Job]) -> Refusal | None:
        images = [job.image for job in jobs if job.image is not None]
        try:
            predictions = list(self.model.predict(images)) if images else []
        except Exception as error:  # of a network: the worker and its other requests live on
            log.exception("a batch of %d images failed", len(jobs))
            return _failed(error)
        for job, prediction in zip(jobs, predictions, strict=True):
            job.prediction = prediction
        return None

    def _write(self) -> None:
        """Encode and send the answers of each batch."""
        while (batch := self.predicted.get()) is not None:
            for job in batch.jobs:
                self._answer(job)
            for job in batch.jobs:
                self._observe(job)

    def _answer(self, job: _Job) -> None:
        header: dict[str, Any] = {"job": job.number}
        body = b""
        try:
            if job.prediction is None:
                raise job.problem or _failed(RuntimeError("no prediction"))
            body = self.writer.write(job.prediction, job.form)
            header |= {"status": 200, "media_type": MEDIA_TYPES[job.form]}
        except Refusal as refusal:
            job.prediction = None
            header |= {"status": refusal.status, "refusal": refusal.as_dict()}
        except Exception as error:
            log.exception("an answer could not be written")
            header |= {"status": 500, "refusal": _failed(error).as_dict()}
        self._send(header, body)

    def _observe(self, job: _Job) -> None:
        if self.model.observe is None or job.image is None or job.prediction is None:
            return
        try:
            self.model.observe(job.image, job.prediction)
        except Exception:
            log.exception("an answered request was not recorded")

    def _send(self, header: dict[str, Any], body: bytes = b"") -> None:
        try:
            with self.sending:
                self.connection.sendall(pack(header, body))
        except OSError:  # the front is gone, and with it whoever waits for the answer
            log.debug("the front is gone")


def _decoded(header: dict[str, Any], body: bytes) -> _Batch:
    """The jobs of a message, with the images that decode."""
    batch = _Batch()
    view = memoryview(body)
    position = 0
    for row in header["jobs"]:
        data = bytes(view[position : position + row["num_bytes"]])
        position += row["num_bytes"]
        job = _Job(row["number"], row["form"])
        try:
            job.image = decode_photo(data, "image", Findings())
        except (ValueError, OSError) as error:
            job.problem = Refusal.from_message(422, str(error))
        except MemoryError as error:
            job.problem = _failed(error)
        batch.jobs.append(job)
    return batch


def _failed(error: BaseException) -> Refusal:
    return Refusal(
        500,
        f"{type(error).__name__} while predicting",
        expected="a prediction",
        do="report the image to whoever runs this server; its log has the details",
    )
