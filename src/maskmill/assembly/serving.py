"""The settings of `maskmill serve`, and how its workers load the model."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Interval

from maskmill.assembly.auto_inference import ChosenInference
from maskmill.assembly.settings import Runtime
from maskmill.canonical.files import read_text
from maskmill.canonical.png import RGB
from maskmill.postprocess.prediction import Prediction
from maskmill.serving.server.service import Batching
from maskmill.serving.server.uploads import Limits
from maskmill.serving.server.worker import ServedModel

API_KEY = "MASKMILL_API_KEY"  # environment variable
MIN_KEY_CHARACTERS = 16


@dataclass(frozen=True)
class ServeSettings:
    """What is served, on which address, and within which limits.

    Args:
        model: a folder that `train` wrote, models:/NAME@ALIAS or models:/NAME/VERSION.
        host: address to listen on.
        port: to listen on.
        device: cpu, cuda or cuda:N.
        threads: of each worker; null: the cores, divided among the workers.
        inference: how images go through the network.
        postprocess: values that replace those the model was trained with, or was tested with.
        batching: how requests become batches.
        limits: of one request.
        api_key_file: a file with the key that clients must send; null: the environment variable
            MASKMILL_API_KEY, and without it no key is asked for.
        log: a file that gets the statistics of each answered image, and no image, for `maskmill
            monitor`; null: nothing is kept.
        runtime: what runs the network, as in `predict`.

    Raises:
        FileNotFoundError: there is no such file with a key.
        ValueError: the key is shorter than 16 characters.
    """

    model: str
    host: str
    port: Annotated[int, Interval(ge=1, le=65535)]
    device: str
    threads: Annotated[int, Ge(1)] | None
    inference: ChosenInference
    postprocess: dict[str, Any]
    batching: Batching
    limits: Limits
    api_key_file: Path | None
    log: Path | None = None
    runtime: Runtime = "auto"

    def api_key(self) -> str | None:
        """The key that clients must send, or None.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the key is too short, or has characters that a header cannot carry.
        """
        source = str(self.api_key_file or API_KEY)
        key = _read_key(self.api_key_file)
        if key is None:
            return None
        if len(key) < MIN_KEY_CHARACTERS or not key.isascii() or not key.isprintable():
            raise ValueError(
                f"{source}: expected a key of at least {MIN_KEY_CHARACTERS} printable ASCII "
                f"characters, but got {len(key)} characters - create one with `openssl rand -hex "
                "16`"
            )
        return key

    def loader(self) -> "ModelLoader":
        """How a worker loads a model."""
        num_cores = len(os.sched_getaffinity(0))
        threads = self.threads or max(1, num_cores // self.batching.workers)
        return ModelLoader(
            self.device, threads, self.inference, self.postprocess, self.log, self.runtime
        )


@dataclass(frozen=True)
class PackageSettings:
    """The folder that `maskmill package` writes.

    Args:
        model: a folder that `train` wrote, models:/NAME@ALIAS or models:/NAME/VERSION.
        out: a folder that does not exist yet, or is empty.
        port: of the machine that runs the container.
    """

    model: str
    out: Path
    port: Annotated[int, Interval(ge=1, le=65535)]


def _read_key(path: Path | None) -> str | None:
    if path is None:
        return os.environ.get(API_KEY)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected a file with the API key, but there is none - check "
            "`serve.api_key_file`"
        )
    return read_text(path, expected="a file with the API key").strip()


@dataclass(frozen=True)
class ModelLoader:
    """Loads a model in a worker process.

    Args:
        device: cpu, cuda or cuda:N.
        threads: of the process.
        inference: how images go through the network.
        postprocess: values that replace those the model was trained with, or was tested with.
        log: a file for the statistics of each answered image; None: none.
        runtime: what runs the network.
    """

    device: str
    threads: int
    inference: ChosenInference
    postprocess: Mapping[str, Any]
    log: Path | None = None
    runtime: Runtime = "auto"

    def __call__(self, name: str) -> ServedModel:
        """The model, ready to predict.

        Raises:
            FileNotFoundError: the folder holds no model.
            ValueError: the registry has no such model, or it does not fit.
        """
        import cv2
        import torch  # the front, which never calls this, does without it

        from maskmill.assembly.model_loading import load_model

        torch.set_num_threads(self.threads)
        cv2.setNumThreads(self.threads)
        model = load_model(
            name,
            device=self.device,
            inference=self.inference,
            postprocess=self.postprocess,
            runtime=self.runtime,
        )

        def predict(images: Sequence[RGB]) -> list[Prediction]:
            return list(model.predictor(images, batch_size=len(images)))

        files = model.files
        if self.log is None:
            return ServedModel(predict, files.categories, files.fingerprint)
        from maskmill.evaluation.observation import NUM_DIGITS, ObservationLog

        statistics = ObservationLog(self.log, version=files.identity[:NUM_DIGITS])
        return ServedModel(predict, files.categories, files.fingerprint, statistics.observe)
