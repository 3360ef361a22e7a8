"""Example images of a report: the worst, the best, and those that changed most."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskmill.canonical.folder import PanopticFolder
from maskmill.evaluation.analysis import Analysis
from maskmill.evaluation.comparison import Difference
from maskmill.evaluation.deciding import Task, find_task
from maskmill.evaluation.folders import open_folder
from maskmill.reporting.origin import NO_ORIGIN, Origin
from maskmill.reporting.pages import format_percent, format_points
from maskmill.reporting.pictures import draw_example, find_image
from maskmill.reporting.score_tables import ClassKey, class_key


@dataclass(frozen=True)
class Example:
    """An image: its caption, and its pictures as data URIs by name."""

    file_name: str
    caption: str
    pictures: dict[str, str]


@dataclass(frozen=True)
class ExampleGroup:
    """Examples under one title, with the classes that occur in them."""

    title: str
    legend: list[ClassKey]
    examples: list[Example]


@dataclass(frozen=True)
class Extremes:
    """The images with the lowest and the highest score."""

    legend: list[ClassKey]
    metric: str
    worst: list[Example]
    best: list[Example]
    void_is_ignored: bool


@dataclass(frozen=True)
class Gallery:
    """An analysis with the folders that its pictures come from.

    Args:
        analysis: the scores.
        target: ground truth.
        pred: predictions.
        images: folder of the images; it may lack them.
        num_examples: images of each kind in the report.
        baseline: other predictions to compare with.
        origin: the model that predicted.
    """

    analysis: Analysis
    target: PanopticFolder
    pred: PanopticFolder
    images: Path
    num_examples: int
    baseline: PanopticFolder | None = None
    origin: Origin = NO_ORIGIN

    @property
    def task(self) -> Task:
        """The task of the model."""
        return find_task(self.analysis.evaluation.categories, self.origin.task_class)

    @classmethod
    def from_folders(
        cls,
        analysis: Analysis,
        target: PanopticFolder,
        prediction: Path | PanopticFolder,
        *,
        images: Path,
        num_examples: int,
        baseline: Path | PanopticFolder | None,
        origin: Origin = NO_ORIGIN,
    ) -> "Gallery":
        """The gallery of a prediction folder and, if there is one, of the baseline's folder."""
        table = target.categories
        pred = open_folder(prediction, expected=table)
        other = None if baseline is None else open_folder(baseline, expected=table)
        return cls(analysis, target, pred, images, num_examples, other, origin)

    def draw(self, index: int, caption: str, *, with_baseline: bool = False) -> Example:
        """The example with this index among the images of the evaluation."""
        evaluation = self.analysis.evaluation
        record = evaluation.images.records[index]
        baseline = None
        if with_baseline and self.baseline is not None:
            baseline = self.baseline.panoptic(record.id)
        pictures = draw_example(
            find_image(self.images, record),
            self.target.panoptic(record.id),
            self.pred.panoptic(record.id),
            evaluation.categories,
            background=evaluation.background,
            baseline=baseline,
        )
        return Example(record.file_name, caption, pictures)

    def legend(self, indices: Iterable[int]) -> list[ClassKey]:
        """The classes that occur in some images, in the order of the table."""
        evaluation = self.analysis.evaluation
        present: set[int] = set()
        for index in indices:
            pairs = evaluation.images[index].pairs
            present.update(pairs.target.tolist())
            present.update(pairs.pred.tolist())
        keys = []
        for class_index, category in enumerate(evaluation.categories):
            if class_index in present:
                keys.append(class_key(category, evaluation.categories))
        return keys


def find_extremes(gallery: Gallery) -> Extremes | None:
    """The images with the lowest and the highest score; None without examples."""
    metric = gallery.task.metric
    values = gallery.analysis.image_counts.score_each()[metric]
    scored = np.flatnonzero(~np.isnan(values))
    ascending = scored[np.argsort(values[scored], kind="stable")]
    num_worst = min(gallery.num_examples, (len(ascending) + 1) // 2)
    num_best = min(gallery.num_examples, len(ascending) - num_worst)
    if not num_worst:
        return None
    worst = ascending[:num_worst].tolist()
    best = ascending[::-1][:num_best].tolist()
    captions = {index: f"{metric} {format_percent(values[index])}" for index in worst + best}
    return Extremes(
        legend=gallery.legend(worst + best),
        metric=metric,
        worst=[gallery.draw(index, captions[index]) for index in worst],
        best=[gallery.draw(index, captions[index]) for index in best],
        void_is_ignored=not gallery.analysis.evaluation.background,
    )


def find_most_changed(gallery: Gallery) -> list[ExampleGroup]:
    """The images that differ most from the baseline: those that got worse, then better."""
    index_of = {}
    for index, record in enumerate(gallery.analysis.evaluation.images.records):
        index_of[record.file_name] = index
    changes: dict[int, Difference] = {}
    for row in gallery.analysis.differences:
        if row.kind == "image" and row.difference:
            changes[index_of[row.name]] = row
    ascending = sorted(changes, key=lambda index: (changes[index].difference or 0.0, index))
    decreases = ("Largest decreases", ascending, -1)
    increases = ("Largest increases", ascending[::-1], 1)
    groups = []
    for title, order, sign in (decreases, increases):
        largest = order[: gallery.num_examples]
        indices = [index for index in largest if sign * (changes[index].difference or 0) > 0]
        examples = []
        for index in indices:
            caption = _describe_change(changes[index])
            examples.append(gallery.draw(index, caption, with_baseline=True))
        if examples:
            groups.append(ExampleGroup(title, gallery.legend(indices), examples))
    return groups


def _describe_change(row: Difference) -> str:
    before = format_percent(row.baseline)
    now = format_percent(row.value)
    return f"{row.metric} {format_points(row.difference)}: {before} before, {now} now"
