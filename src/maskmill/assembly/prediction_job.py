"""The stage `predict`: images through a model to a folder, in one process or several."""

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from maskmill.assembly.auto_inference import AutoInference
from maskmill.assembly.build import build
from maskmill.assembly.code_digests import code_digests, stage_modules
from maskmill.assembly.model_loading import LoadedModel, load_model
from maskmill.assembly.overlays import WithOverlays
from maskmill.assembly.settings import PredictSettings
from maskmill.assembly.trained_windows import tiling_of
from maskmill.canonical.output_folder import replaced_folder
from maskmill.serving.batch_prediction import BatchPrediction, split_batches
from maskmill.serving.image_folder import Images
from maskmill.serving.output_format import OutputFormat
from maskmill.serving.prediction_folder import finish_folder
from maskmill.serving.prediction_settings import PredictionSettings
from maskmill.serving.unfinished import UnfinishedFolder
from maskmill.sources.progress import show_progress
from maskmill.training.launching import die_with_parent

log = logging.getLogger(__name__)

WITHOUT_EFFECT = ("images", "out", "workers", "processes")  # on the prediction of an image


class PredictionJob:
    """Predictions of all images.

    Args:
        cfg: the node `predict`.
        images: what `predict.images` stands for.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: the model does not exist, or a setting is refused.
    """

    def __init__(self, cfg: DictConfig, images: Images) -> None:
        self.cfg = cfg
        self.settings = build(cfg, PredictSettings)
        self.images = images
        self.batches = split_batches(len(images.records), self.settings.batch_size)
        self.model = load_settings(self.settings)
        self.prediction = self._prediction()
        self.output_format = make_format(self.settings, self.model)

    def run(self) -> int:
        """Predict what an earlier run has not, write the folder, and return how many there are.

        Raises:
            ValueError: an image cannot be read and `on_problem` is `stop`, or a process is writing
                the folder already.
            OSError: a process was killed.
        """
        inputs = {path.parent for path in self.images.paths}
        with replaced_folder(
            self.settings.out, written_by="predict", inputs=inputs, resume=self._digest()
        ) as path:
            folder = UnfinishedFolder(path)
            self._report_earlier_run(folder)
            done = self._in_processes(path) if self.settings.processes > 1 else self._here(folder)
            images = (index for batch in done for index in batch)
            for _ in show_progress(images, len(self.images.records), "predict"):
                pass
            return finish_folder(
                folder,
                self.images,
                self.batches,
                self.output_format,
                model=self.model.files,
                settings=self.prediction.as_dict(),
            )

    def _digest(self) -> str:
        """A digest of all that decides the predictions but the content of the image files."""
        parts = OmegaConf.to_container(self.cfg, resolve=True)
        assert isinstance(parts, dict)
        decisive = {key: value for key, value in parts.items() if key not in WITHOUT_EFFECT}
        prediction = self.prediction.as_dict()
        runs = [self.model.files.config["network"], self.model.files.config["task"], prediction]
        code = code_digests(stage_modules("predict", [decisive, *runs]))
        records = [asdict(record) for record in self.images.records]
        text = json.dumps([self.model.files.fingerprint, decisive, prediction, code, records])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _prediction(self) -> PredictionSettings:
        """The settings in effect: those of the model, changed by those of the command."""
        own = self.model.files.prediction
        changes = cast(dict[str, Any], OmegaConf.to_container(self.cfg.postprocess, resolve=True))
        inference = own.inference
        if not isinstance(self.settings.inference, AutoInference):
            inference = cast(
                dict[str, Any], OmegaConf.to_container(self.cfg.inference, resolve=True)
            )
            tiling = tiling_of(self.model.predictor.inference)
            is_open = inference.get("window", ()) is None
            if is_open and tiling is not None and tiling.window is not None:
                inference["window"] = list(tiling.window)  # of the training crops
        return PredictionSettings(inference, {**own.postprocess, **changes})

    def _report_earlier_run(self, folder: UnfinishedFolder) -> None:
        num_done = folder.num_batches()
        if num_done:
            log.info(
                "an earlier run was interrupted: %d of %d batches are done",
                num_done,
                len(self.batches),
            )

    def _here(self, folder: UnfinishedFolder) -> Iterator[range]:
        job = BatchPrediction(
            self.model.predictor,
            self.images,
            self.output_format,
            folder,
            on_problem=self.settings.on_problem,
        )
        yield from job.run(self.batches, workers=self.settings.workers)

    def _in_processes(self, folder: Path) -> Iterator[range]:
        """Batches from processes that each load the model, in order."""
        num_processes = self.settings.processes
        context = get_context("spawn")
        plain = OmegaConf.to_container(self.cfg, resolve=True)
        started = context.Value("i", 0)
        arguments: Any = (plain, self.images, folder, started)
        size = max(1, min(self.settings.workers * 4, len(self.batches) // num_processes))
        chunks = [self.batches[i : i + size] for i in range(0, len(self.batches), size)]
        try:
            with ProcessPoolExecutor(
                num_processes, context, initializer=_start_process, initargs=arguments
            ) as pool:
                for chunk in pool.map(_predict_chunk, chunks):
                    yield from chunk
        except BrokenProcessPool as error:
            raise OSError(
                f"Expected {num_processes} processes that run to their end, but one ended early, "
                "most likely because memory was short - set predict.processes or "
                "predict.batch_size to a smaller number; what is done is kept"
            ) from error


def load_settings(settings: PredictSettings) -> LoadedModel:
    """The model of the settings."""
    return load_model(
        settings.model,
        device=settings.device,
        inference=settings.inference,
        postprocess=settings.postprocess,
        runtime=settings.runtime,
    )


def make_format(settings: PredictSettings, model: LoadedModel) -> OutputFormat:
    """The format of the settings, with overlays if they are wanted."""
    categories = model.files.categories
    output_format: OutputFormat = settings.output(categories=categories)
    return WithOverlays(output_format, categories) if settings.overlays else output_format


_process: dict[str, Any] = {}  # of a worker process: its job and the number of its threads


def _start_process(plain: dict[str, Any], images: Images, folder: Path, started: Any) -> None:
    """Load the model in a worker process, on a device of its own if there are several."""
    die_with_parent()
    with started.get_lock():
        number = started.value
        started.value += 1
    import torch

    settings = build(OmegaConf.create({"predict": plain}).predict, PredictSettings)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // settings.processes))
    if settings.device == "cuda":
        settings = replace(settings, device=f"cuda:{number % torch.cuda.device_count()}")
    model = load_settings(settings)
    _process["workers"] = settings.workers
    _process["job"] = BatchPrediction(
        model.predictor,
        images,
        make_format(settings, model),
        UnfinishedFolder(folder),
        on_problem=settings.on_problem,
    )


def _predict_chunk(batches: Sequence[range]) -> Sequence[range]:
    job: BatchPrediction = _process["job"]
    return list(job.run(batches, workers=_process["workers"]))
