"""What each command reads and writes; paths are checked here, before the work starts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Len

from maskmill.assembly.auto_inference import ChosenInference
from maskmill.evaluation.metric_families import ALL_FAMILIES, Family, prefixes


@dataclass(frozen=True)
class CheckSettings:
    """Output location of `maskmill check`.

    Args:
        out: folder for check.json.
    """

    out: Path


@dataclass(frozen=True)
class PreviewSettings:
    """Images to show in `maskmill preview`.

    Args:
        data: a prepared data set.
        out: folder for preview.html.
        split: name of the split.
        num_images: number of images, evenly spaced over the split.
        num_draws: augmented versions of each image, those of the first epochs; 0 shows the images
            as they are.

    Raises:
        FileNotFoundError: `data` has no such split.
    """

    data: Path
    out: Path
    split: str
    num_images: Annotated[int, Ge(1)]
    num_draws: Annotated[int, Ge(0)]

    def __post_init__(self) -> None:
        folder = self.data / self.split
        if not (folder / "panoptic.json").is_file():
            raise FileNotFoundError(
                f"{folder}: expected a split of a prepared data set, but there is none - "
                "either run `maskmill prepare` first or check `preview.split`"
            )


@dataclass(frozen=True)
class ShardSettings:
    """Input and output of `maskmill shard`.

    Args:
        data: the folder that `prepare` wrote.
        out: an empty folder, or s3://BUCKET/PREFIX.
        shard_mb: a shard ends with the first sample that makes it at least this long, in megabytes.
        decoded: store arrays instead of PNG and JPEG files: nothing to decode, but several times
            the space.

    Raises:
        FileNotFoundError: `data` is not a prepared data set.
    """

    data: Path
    out: str
    shard_mb: Annotated[int, Ge(1)]
    decoded: bool

    def __post_init__(self) -> None:
        if not (self.data / "dataset.json").is_file():
            raise FileNotFoundError(
                f"{self.data}: expected a prepared data set, but there is none - run `maskmill "
                f"prepare` first"
            )


Runtime = Literal[
    "auto",
    "torch",
    "torch_bf16",
    "program",
    "onnx",
    "openvino",
    "openvino_bf16",
    "openvino_int8",
]


@dataclass(frozen=True)
class PredictSettings:
    """Input and output of `maskmill predict`.

    Args:
        model: a folder that `train` or `ensemble` wrote, or models:/NAME@ALIAS of the registry.
        images: a prepared split, whose image ids the predictions keep; a folder, a pattern, a file,
            a list of files (.txt), or `-` for a list on the standard input.
        out: folder for the predictions.
        batch_size: images of one size, or windows of one image, per forward pass.
        device: cpu, cuda or cuda:N.
        inference: how images go through the network, see `postprocess.prediction.Inference`.
        postprocess: values that replace those the model was trained with, or was tested with.
        on_problem: `stop` ends with the error of the first image that cannot be read; `exclude`
            leaves such images out and lists them.
        output: the format of the predictions, see `serving.output_format.OutputFormat`.
        overlays: whether to write pictures of the predictions over the images too.
        workers: number of threads.
        processes: number of processes with the model each; with cuda, each on the next GPU.
        runtime: what runs the network; auto: the fastest whose predictions agree with it, see
            `maskmill.assembly.runtimes.choose_runtime`.
    """

    model: str
    images: str
    out: Path
    batch_size: Annotated[int, Ge(1)]
    device: str
    inference: ChosenInference
    postprocess: dict[str, Any]
    on_problem: Literal["stop", "exclude"]
    output: Callable[..., Any]
    overlays: bool = False
    workers: Annotated[int, Ge(1)] = 4
    processes: Annotated[int, Ge(1)] = 1
    runtime: Runtime = "auto"


@dataclass(frozen=True)
class EvaluateSettings:
    """Input and output of `maskmill evaluate`.

    Args:
        target: ground truth: a canonical folder or a COCO panoptic JSON file; or a list of them,
            such as the val splits of folds, which are scored as one data set.
        prediction: predictions in the same form; a list where `target` is one.
        out: folder for the results.
        images: folder of the images, for the report; null: next to the ground truth.
        workers: number of processes.
        num_examples: pictures of each kind in the report: worst images, best images, largest
            changes; twice as many mistakes.
        void: unlabelled pixels of the ground truth. `ignore`: predictions there do not count
            (COCO); `background`: they count as errors; `auto`: `background` if every category is a
            thing, else `ignore`.
        void_in_union: PQ keeps ground-truth void in the union of two segments, as BDD100K does;
            COCO removes it.
        baseline: another prediction of the same images, for a paired comparison; null: none.
        tags: a CSV file `image,<tag>[,<tag>...]`; each column slices the images; null: none.
        num_resamples: bootstrap resamples behind the 95 % intervals; 0: no intervals.
        seed: seed of the resampling.
        metrics: the families of scores to compute and report, see `evaluation.metric_families`.
        model: folder of the predicting model; the report describes it and shows its learning
            curves. null, or the folder of another model: it names the fingerprint alone.

    Raises:
        FileNotFoundError: `images` is not a folder.
        ValueError: `metrics` has no family with scores, or `target` and `prediction` have different
            numbers of folders.
    """

    target: Path | list[Path]
    prediction: Path | list[Path]
    out: Path
    images: Path | None
    workers: Annotated[int, Ge(1)]
    num_examples: Annotated[int, Ge(0)]
    void: Literal["auto", "ignore", "background"]
    void_in_union: bool = False
    baseline: Path | None = None
    tags: Path | None = None
    num_resamples: Annotated[int, Ge(0)] = 1000
    seed: int = 0
    model: Path | None = None
    metrics: list[Family] = field(default_factory=lambda: list(ALL_FAMILIES))

    def __post_init__(self) -> None:
        if self.images is not None and not self.images.is_dir():
            raise FileNotFoundError(
                f"{self.images}: expected the folder of the images, but there is none - check "
                f"`evaluate.images`"
            )
        if not prefixes(self.metrics):
            raise ValueError(
                f"Expected `evaluate.metrics` to have a family with scores, but got "
                f"{list(self.metrics)} - add PQ, mIoU, AP, boundary or calibration"
            )
        num_targets, num_predictions = len(self.targets), len(self.predictions)
        if num_targets != num_predictions or not num_targets:
            raise ValueError(
                f"Expected as many folders in `evaluate.prediction` as in `evaluate.target`, but "
                f"got {num_predictions} and {num_targets} - list them in the same order"
            )

    @property
    def targets(self) -> list[Path]:
        """All ground truths."""
        return self.target if isinstance(self.target, list) else [self.target]

    @property
    def predictions(self) -> list[Path]:
        """All predictions."""
        return self.prediction if isinstance(self.prediction, list) else [self.prediction]


@dataclass(frozen=True)
class RegisterSettings:
    """Model to register, and the lead it needs to become champion.

    Args:
        name: name of the registered model.
        model: a folder that `train` wrote.
        evaluation: what `evaluate` wrote for this model's predictions.
        images: a prepared split; its first image becomes the input example.
        out: folder for version.json.
        metric: the metric that decides: PQ, PQ/thing or mIoU; auto: that of the model's task.
        margin: lead over the champion that the candidate needs.
        confidence: required confidence of that lead, by paired bootstrap over the images.
        run: MLflow run to register from; null: the run that produced the model.
        floors: class -> the lowest score with which a model may become champion: IoU where mIoU
            decides, else PQ.
        max_latency_ms: longest time for one image on the CPU, post-processing included; null: any.
        latency_size: height and width of that image in px.
        latency_runs: how often it is measured; the median counts.
        max_size_mb: largest size of the registered model's files; null: any.
    """

    name: str
    model: Path
    evaluation: Path
    images: Path
    out: Path
    metric: Literal["auto", "PQ", "PQ/thing", "mIoU"]
    margin: float
    confidence: float
    run: str | None = None
    floors: dict[str, Annotated[float, Ge(0), Le(1)]] = field(default_factory=dict)
    max_latency_ms: Annotated[float, Gt(0)] | None = None
    latency_size: Annotated[list[int], Len(2, 2)] = field(default_factory=lambda: [480, 640])
    latency_runs: Annotated[int, Ge(1)] = 20
    max_size_mb: Annotated[float, Gt(0)] | None = None


@dataclass(frozen=True)
class MonitorSettings:
    """What `maskmill monitor` compares, and where it writes.

    Args:
        model: a folder that `train` wrote, or models:/NAME@ALIAS of the registry.
        log: statistics of images and predictions that `maskmill serve` wrote; null: `images`.
        images: any folder of images, which the model then predicts; null: `log`.
        out: folder for the page, monitor.json and to_label.csv.
        last: number of images, the newest of the log.
        num_listed: images to list for labelling, at most.
        batch_size: images of one size per forward pass.
        device: cpu, cuda or cuda:N.
        inference: how images go through the network.
        prometheus: a file for gauges, for node-exporter's textfile collector; null: none.

    Raises:
        ValueError: neither or both of `log` and `images` are given.
    """

    model: str
    log: Path | None
    images: Path | None
    out: Path
    last: Annotated[int, Ge(1)]
    num_listed: Annotated[int, Ge(0)]
    batch_size: Annotated[int, Ge(1)]
    device: str
    inference: ChosenInference
    prometheus: Path | None

    def __post_init__(self) -> None:
        if (self.log is None) == (self.images is None):
            found = "neither" if self.log is None else "both"
            raise ValueError(
                f"Expected either monitor.log or monitor.images, but got {found} - set "
                "monitor.log=FILE of a server, or monitor.images=FOLDER"
            )


@dataclass(frozen=True)
class UiSettings:
    """Where `maskmill ui` serves MLflow's pages.

    Args:
        host: address to listen on.
        port: TCP port.
    """

    host: str
    port: Annotated[int, Ge(1), Le(65535)]
