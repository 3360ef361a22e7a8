"""What the functions of `import maskmill` return: numbers, paths, and pictures in a notebook."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter, itemgetter
from pathlib import Path

from maskmill.canonical.folder import PanopticFolder
from maskmill.evaluation.learning_curves import EPOCH, Row
from maskmill.reporting.curve_charts import Figure
from maskmill.reporting.drawing import draw_contours
from maskmill.reporting.learning_charts import learning_figures
from maskmill.reporting.pages import format_interval, format_percent, render_page
from maskmill.reporting.pictures import encode_jpegs, find_image
from maskmill.sources.finding import Finding, Severity, group_by_kind

MAX_PICTURES = 3
MAX_KINDS = 20  # of findings in a notebook; the file has all

Cells = tuple[str, ...]


class Shown:
    """A result that a notebook shows as a table and pictures."""

    def title(self) -> str:
        """One line."""
        raise NotImplementedError

    def rows(self) -> Iterable[Cells]:
        """The table."""
        raise NotImplementedError

    def pictures(self) -> Mapping[str, str]:
        """Caption -> picture as a data URI."""
        return {}

    def charts(self) -> Sequence[Figure]:
        """Charts with their captions."""
        return []

    def _repr_html_(self) -> str:
        return render_page(
            "result",
            title=self.title(),
            rows=list(self.rows()),
            pictures=self.pictures(),
            charts=self.charts(),
        )


@dataclass(frozen=True)
class Checked(Shown):
    """The problems of raw data.

    Args:
        findings: each with `severity` (error, warning, note), `file`, `what` and `fix`.
        path: check.json, which has them as well.

    Example:
        >>> finding = Finding("error", "a.png", "expected labels, but got none", "label it")
        >>> Checked((finding,), Path("check.json")).num_errors
        1
    """

    findings: tuple[Finding, ...] = field(repr=False)
    path: Path

    @property
    def num_errors(self) -> int:
        """Problems with which `prepare` stops."""
        return self._count("error")

    @property
    def num_warnings(self) -> int:
        """Problems that can harm training or metrics."""
        return self._count("warning")

    def _count(self, severity: Severity) -> int:
        return Counter(map(attrgetter("severity"), self.findings))[severity]

    def title(self) -> str:
        """The numbers."""
        return f"{self.num_errors} errors, {self.num_warnings} warnings: {self.path}"

    def rows(self) -> Iterator[Cells]:
        """The first finding of each kind."""
        for group in group_by_kind(self.findings)[:MAX_KINDS]:
            first = group[0]
            yield first.severity, f"{len(group)} x", first.file, first.what, first.fix


@dataclass(frozen=True)
class Prepared(Shown):
    """A data set in the canonical format.

    Args:
        folder: with a folder for each split, and dataset.json.
        num_images: split -> number of images.
        classes: their names.
        num_excluded: images that were left out.

    Example:
        >>> prepared = Prepared(Path("out/prepare"), {"train": 8, "val": 3}, ("road", "car"), 0)
        >>> prepared.title()
        '11 images of 2 classes, 0 left out: out/prepare'
    """

    folder: Path
    num_images: Mapping[str, int]
    classes: tuple[str, ...]
    num_excluded: int

    def title(self) -> str:
        """The numbers."""
        total = sum(self.num_images.values())
        return (
            f"{total} images of {len(self.classes)} classes, {self.num_excluded} left out: "
            f"{self.folder}"
        )

    def rows(self) -> Iterator[Cells]:
        """The splits."""
        for split, number in self.num_images.items():
            yield split, str(number)
        yield "classes", ", ".join(self.classes)


@dataclass(frozen=True)
class Trained(Shown):
    """A model that was trained.

    Args:
        folder: of the model, for `load_model`.
        metric: the score that chose the checkpoint, as PQ.
        score: the best on the validation images, a fraction.
        weights: sha256 of the weights.
        history: the learning curves, a row for each epoch.

    Example:
        >>> rows = ({"epoch": 1.0, "val/loss": 2.5}, {"epoch": 2.0, "val/loss": 2.25})
        >>> Trained(Path("out/train"), "PQ", 0.51234, "b6d2", rows).title()
        'PQ 51.2 % on validation images after 2 epochs: out/train'
    """

    folder: Path
    metric: str
    score: float
    weights: str
    history: tuple[Row, ...] = field(repr=False)

    def title(self) -> str:
        """The score."""
        num_epochs = max(map(itemgetter(EPOCH), self.history), default=0)
        return (
            f"{self.metric} {format_percent(self.score)} % on validation images after "
            f"{num_epochs:.3g} epochs: {self.folder}"
        )

    def rows(self) -> Iterator[Cells]:
        """What identifies the weights."""
        yield "weights", self.weights

    def charts(self) -> Sequence[Figure]:
        """The learning curves."""
        return learning_figures(self.history, self.metric)


@dataclass(frozen=True)
class Predicted(Shown):
    """Predictions as files.

    Args:
        folder: with the files, in the format of `output`.
        num_images: how many there are.
        images: what was predicted, as `predict` takes it.

    Example:
        >>> Predicted(Path("out/predict"), 12, "photos").title()
        '12 predictions: out/predict'
    """

    folder: Path
    num_images: int
    images: str

    def title(self) -> str:
        """Their number."""
        return f"{self.num_images} predictions: {self.folder}"

    def rows(self) -> Iterator[Cells]:
        """The images."""
        yield "images", self.images

    def pictures(self) -> Mapping[str, str]:
        """The first predictions over their images, where both are folders."""
        photos = Path(self.images)
        if not (self.folder / "panoptic.json").is_file() or not photos.is_dir():
            return {}
        if (photos / "panoptic.json").is_file():  # a prepared split
            photos = photos / "images"
        split = PanopticFolder(self.folder)
        drawings = {}
        for record in split.records[:MAX_PICTURES]:
            panoptic = split.panoptic(record.id)
            image = find_image(photos, record)
            drawings[record.file_name] = draw_contours(image, panoptic, split.categories)
        return encode_jpegs(drawings)


@dataclass(frozen=True)
class Scored(Shown):
    """The metrics of predictions.

    Args:
        folder: with metrics.json, tables and the report.
        scores: name -> fraction; the deciding one comes first.
        intervals: name -> 95 % interval.

    Example:
        >>> scored = Scored(Path("out/evaluate"), {"PQ": 0.5, "mIoU": 0.75}, {"PQ": (0.4, 0.6)})
        >>> list(scored.rows())
        [('PQ', '50.0 %', '40.0\u201360.0'), ('mIoU', '75.0 %', '')]
    """

    folder: Path
    scores: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]] = field(repr=False)

    @property
    def report(self) -> Path:
        """The page with every class, the mistakes, and the best and worst images."""
        return self.folder / "report.html"

    def title(self) -> str:
        """The deciding score."""
        name, value = next(iter(self.scores.items()))
        return f"{name} {format_percent(value)} %: {self.report}"

    def rows(self) -> Iterator[Cells]:
        """Scores with their intervals."""
        for name, value in self.scores.items():
            interval = format_interval(self.intervals.get(name))
            yield name, f"{format_percent(value)} %", interval


@dataclass(frozen=True)
class Registered(Shown):
    """A version in the model registry.

    Args:
        name: of the registered model.
        version: its number.
        alias: champion, challenger, or None.
        reason: for the alias.
        folder: with version.json and comparison.html.

    Example:
        >>> Registered("street", 3, "champion", "the first version", Path("out/register")).uri
        'models:/street/3'
    """

    name: str
    version: int
    alias: str | None
    reason: str
    folder: Path

    @property
    def uri(self) -> str:
        """For `load_model` and MLflow."""
        return f"models:/{self.name}/{self.version}"

    def title(self) -> str:
        """What it is now."""
        return f"{self.uri} is {self.alias or 'neither champion nor challenger'}"

    def rows(self) -> Iterator[Cells]:
        """The reason."""
        yield "reason", self.reason
        yield "comparison", str(self.folder / "comparison.html")
