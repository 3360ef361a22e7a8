"""Whole images: the worst, the best, and those that changed most."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from maskmill.canonical.folder import PanopticFolder
from maskmill.evaluation.analysis import Analysis
from maskmill.evaluation.comparison import Difference
from maskmill.reporting.markup import folded, key, percent, points
from maskmill.reporting.pictures import find_image, views


@dataclass(frozen=True)
class Gallery:
    """Where the pictures come from, and how many of each kind are shown."""

    analysis: Analysis
    truth: PanopticFolder
    guess: PanopticFolder
    images: Path
    num_examples: int
    baseline: PanopticFolder | None = None

    @classmethod
    def of(
        cls,
        analysis: Analysis,
        truth: PanopticFolder,
        prediction: Path,
        *,
        images: Path,
        num_examples: int,
        baseline: Path | None,
    ) -> "Gallery":
        """The gallery of a prediction and, where there is one, of the baseline it was compared with."""
        other = None if baseline is None else PanopticFolder(baseline)
        return cls(analysis, truth, PanopticFolder(prediction), images, num_examples, other)

    def figure(self, place: int, score: str, *, changed: bool = False) -> str:
        """One image, by its place; the score is markup."""
        evaluation = self.analysis.evaluation
        record = evaluation.images[place].record
        labels, pred = self.truth.panoptic(record.id), self.guess.panoptic(record.id)
        other = self.baseline.panoptic(record.id) if changed and self.baseline is not None else None
        image = find_image(self.images, record)
        shown = views(
            image,
            labels,
            pred,
            evaluation.categories,
            background=evaluation.background,
            other=other,
        )
        cells = "".join(
            f'<div><img alt="{name}" src="{uri}"><small>{name}</small></div>'
            for name, uri in shown.items()
        )
        return f'<figure><figcaption><b>{escape(record.file_name)}</b> {score}</figcaption><div class="views">{cells}</div></figure>'

    def legend(self, places: Iterable[int]) -> str:
        """The classes of some images."""
        evaluation = self.analysis.evaluation
        seen = {
            int(index)
            for place in places
            for side in (evaluation.images[place].pairs.target, evaluation.images[place].pairs.pred)
            for index in side
        }
        keys = (
            key(category, evaluation.categories)
            for number, category in enumerate(evaluation.categories)
            if number in seen
        )
        return f'<p class="legend">{"".join(f"<span>{one}</span>" for one in keys)}</p>'


def worst_and_best(gallery: Gallery) -> Iterator[str]:
    """The images with the lowest and the highest score."""
    metric = gallery.analysis.image_metric
    values = gallery.analysis.image_counts.score_each()[metric].tolist()
    scored = sorted(
        (value, place) for place, value in enumerate(values) if value == value
    )  # not NaN
    worst = scored[: min(gallery.num_examples, (len(scored) + 1) // 2)]
    best = scored[: len(worst) - 1 : -1][: gallery.num_examples]
    if not worst:
        return
    uncounted = (
        "" if gallery.analysis.evaluation.background else ", gray: unlabelled, does not count"
    )
    yield (
        f"{gallery.legend(place for _, place in worst + best)}<p>Numbers stand for classes, borders are white. "
        f"Wrong class: bright{uncounted}.</p>"
    )
    yield f"<h3>Worst images by {metric}</h3>{_figures(gallery, metric, worst)}"
    if best:
        yield f"<h3>Best images by {metric}</h3>{folded(f'{len(best)} images', _figures(gallery, metric, best))}"


def _figures(gallery: Gallery, metric: str, scored: Sequence[tuple[float, int]]) -> str:
    return "".join(gallery.figure(place, f"{metric} {percent(value)}") for value, place in scored)


def most_changed(gallery: Gallery) -> Iterator[str]:
    """The images that changed most since the baseline, both ways."""
    place_of = {
        image.record.file_name: place
        for place, image in enumerate(gallery.analysis.evaluation.images)
    }
    rows = {place_of[one.name]: one for one in gallery.analysis.differences if one.kind == "image"}
    changed = sorted((one.difference, place) for place, one in rows.items() if one.difference)
    worse = [place for gap, place in changed[: gallery.num_examples] if gap < 0]
    better = [place for gap, place in changed[::-1][: gallery.num_examples] if gap > 0]
    for title, places in (("Got worse", worse), ("Got better", better)):
        if places:
            figures = "".join(
                gallery.figure(place, _change(rows[place]), changed=True) for place in places
            )
            yield f"<h3>{title} most</h3>{folded(f'{len(places)} images', gallery.legend(places) + figures)}"


def _change(row: Difference) -> str:
    return f"{row.metric} {points(row.difference)}: {percent(row.baseline)} before, {percent(row.value)} now"
