"""A model becomes a folder that other runtimes read, each compared with the network itself."""

import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from torch import nn

from maskmill.assembly.export_settings import ExportSettings
from maskmill.assembly.model_loading import REGISTRY
from maskmill.assembly.network_loading import load_network
from maskmill.assembly.runtimes import FILES, RECORD, open_network
from maskmill.canonical.files import write_json
from maskmill.canonical.folder import ImageRecord, PanopticFolder
from maskmill.canonical.output_folder import replaced_folder, require_replaceable
from maskmill.canonical.png import RGB
from maskmill.metrics import ConfusionMatrix, PanopticQuality
from maskmill.postprocess.mask_classification import SemanticMasks
from maskmill.postprocess.prediction import Network
from maskmill.postprocess.semantic import SemanticSegments
from maskmill.serving import onnx_network
from maskmill.serving.agreement import MIN_SHARE, Check, check
from maskmill.serving.image_folder import find_images
from maskmill.serving.model_files import DESCRIPTION, PROGRAM, WEIGHTS, describe, read_model
from maskmill.serving.predictor import Predictor
from maskmill.serving.program import export_program, require_followed
from maskmill.sources.finding import Findings

log = logging.getLogger(__name__)

CPU = "cpu"
SEMANTIC = (SemanticSegments, SemanticMasks)  # scored by mIoU, all others by PQ
ONNX = onnx_network.GRAPH


class Exporting:
    """One export; nothing is written unless all its formats agree with the network.

    Args:
        settings: of the stage.

    Raises:
        FileNotFoundError: there is no model, or there are no images.
        ValueError: the output folder contains other files, or the network cannot be exported.
    """

    def __init__(self, settings: ExportSettings) -> None:
        require_replaceable(settings.out, written_by="export")
        self.settings = settings
        self.images = list(islice(_read_images(settings.images), settings.num_images))
        is_registered = settings.model.startswith(REGISTRY)
        self.source = _registered(settings.model) if is_registered else Path(settings.model)
        self.files = read_model(self.source)
        self.postprocess = self.files.postprocess()
        self.inference = self.files.prediction.make_inference()
        self.network: nn.Module | None = None
        if (self.source / WEIGHTS).is_file():
            self.network = load_network(self.files)
            if "program" in settings.formats:
                require_followed(self.network)
        self.original = choose_original(self.source)
        self.temperature = self.postprocess.table.calibration.temperature
        self.reference = self._open(self.source, self.original)

    def run(self) -> dict[str, Any]:
        """Export, compare, and write the folder.

        Returns:
            the content of export.json.

        Raises:
            ValueError: a format does not agree with the network, or INT8 loses more than allowed.
        """
        record: dict[str, Any] = {"fingerprint": self.files.fingerprint, "runtimes": {}}
        with replaced_folder(self.settings.out, written_by="export") as folder:
            self._copy_model(folder)
            for name in self.settings.formats:
                result = self._export(name, folder)
                log.info("%s\n%s", name, result.table())
                record["runtimes"][name] = result.as_dict()
                reference_seconds = result.reference_seconds
            record["runtimes"][self.original] = {"agrees": True, "seconds": reference_seconds}
            if self.settings.int8:
                record["runtimes"]["openvino_int8"] = self._export_int8(folder)
            write_json(folder / RECORD, record)
        if self.settings.model.startswith(REGISTRY):
            self._register(record)
        return record

    def _open(self, folder: Path, runtime: str) -> Network:
        network = open_network(folder, runtime, CPU, self.network, temperature=self.temperature)
        return self._in_views(network)

    def _in_views(self, network: Network) -> Network:
        """The network in the views with which the version was tested, if graphs can run them."""
        views = getattr(self.inference, "views", None)
        is_whole = views is None or self.inference.needs_torch
        return network if is_whole else views(network)

    def _copy_model(self, folder: Path) -> None:
        """The model's own files, so that the folder is a model too."""
        for name in (WEIGHTS, PROGRAM, ONNX):
            if (self.source / name).is_file():
                shutil.copy(self.source / name, folder / name)
        if self.network is None:
            write_json(folder / DESCRIPTION, describe(self.files, folder))
        else:
            shutil.copy(self.files.description, folder / DESCRIPTION)

    def _export(self, name: str, folder: Path) -> Check:
        if not (folder / FILES[name]).is_file():
            self._write(name, folder)
        exported = self._open(folder, name)
        result = check(self.reference, exported, self.postprocess, self.images)
        if not result.agrees:
            raise ValueError(
                f"{self.settings.out}: expected {name} to give at least {MIN_SHARE:.2%} of the "
                f"pixels as the network does, but it gives fewer, so nothing is written - "
                f"choose another format:\n{result.table()}"
            )
        return result

    def _write(self, name: str, folder: Path) -> None:
        if name == "program":
            export_program(self._network(), folder)
        elif name == "onnx":
            self._write_onnx(folder)
        else:
            from maskmill.serving.openvino_export import export_openvino

            with tempfile.TemporaryDirectory() as temporary:
                has_graph = (folder / ONNX).is_file()
                graph = folder / ONNX if has_graph else self._write_onnx(Path(temporary))
                export_openvino(graph, folder)

    def _write_onnx(self, folder: Path) -> Path:
        from maskmill.serving.onnx_export import export_onnx

        return export_onnx(self._network(), folder, temperature=self.temperature)

    def _network(self) -> nn.Module:
        if self.network is None:
            raise ValueError(
                f"{self.settings.model}: expected a graph in ONNX or weights, but the registered "
                "version has a program only - export the folder of its training"
            )
        return self.network

    def _export_int8(self, folder: Path) -> dict[str, Any]:
        """Quantise the graph of OpenVINO; what export.json says about it."""
        from maskmill.serving.openvino_export import export_int8

        if "openvino" not in self.settings.formats:
            self._export("openvino", folder)
        split = PanopticFolder(self.settings.images)
        metric = "mIoU" if isinstance(self.postprocess, SEMANTIC) else "PQ"

        def score_of(network: Network) -> float:
            return score(Predictor(network, self.postprocess), split, metric)

        def score_of_graph(network: Network) -> float:
            return score_of(self._in_views(network))

        before = score_of(self.reference)
        images = islice(_read_images(self.settings.images), self.settings.num_calibration)
        export_int8(
            folder / FILES["openvino"],
            images,
            score_of_graph,
            size=_largest(split.records),
            max_loss=self.settings.max_loss,
            temperature=self.temperature,
        )
        exported = self._open(folder, "openvino_int8")
        after = score_of(exported)
        if before - after > self.settings.max_loss:
            raise ValueError(
                f"{self.settings.out}: expected INT8 to lose at most {self.settings.max_loss} of "
                f"{metric} on {self.settings.images}, but it falls from {before:.4f} to "
                f"{after:.4f}, so nothing is written - either raise export.max_loss or set "
                "export.int8=false"
            )
        result = check(self.reference, exported, self.postprocess, self.images)
        log.info("openvino_int8: %s %.4f, before %.4f\n%s", metric, after, before, result.table())
        return {**result.as_dict(), metric: after, f"{metric}_before": before}

    def _register(self, record: dict[str, Any]) -> None:
        from maskmill.tracking.exports import log_exports

        summary = ", ".join(sorted(record["runtimes"]))
        stored = log_exports(self.settings.model, self.settings.out, summary)
        log.info("registered with %s -> %s", self.settings.model, stored)


def _read_images(images: Path) -> Iterator[RGB]:
    found = find_images(images)
    for index in range(len(found.records)):
        yield found.read(index, Findings())[0]


def _largest(records: Sequence[ImageRecord]) -> tuple[int, int]:
    """The largest height and the largest width."""
    return max(record.height for record in records), max(record.width for record in records)


def _registered(uri: str) -> Path:
    from maskmill.tracking.models import download  # MLflow takes seconds to import

    return download(uri)


def choose_original(folder: Path) -> str:
    """The runtime that exports are compared with: the one nearest to the training."""
    for name in ("torch", "program"):
        if (folder / FILES[name]).is_file():
            return name
    return "onnx"


def score(predictor: Predictor, split: PanopticFolder, metric: str) -> float:
    """The mIoU or PQ of a predictor on a prepared split, a fraction.

    Args:
        predictor: images to predictions.
        split: images with their ground truth.
        metric: mIoU or PQ.
    """
    scores = ConfusionMatrix(split.categories)
    segments = PanopticQuality(split.categories)
    images = (split.image(record) for record in split.records)
    for record, prediction in zip(split.records, predictor(images), strict=True):
        target = split.panoptic(record.id)
        if metric == "PQ":
            segments.update([prediction.panoptic], [target])
        else:
            scores.update([prediction.semantic], [target.category_map()])
    return float((segments if metric == "PQ" else scores).compute()[metric])
