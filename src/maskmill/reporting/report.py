"""The report: one HTML file that needs nothing else, for people who would rather look than read."""

import hashlib
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

from maskmill.canonical.files import write_text
from maskmill.evaluation.evaluation import Evaluation
from maskmill.reporting.class_table import class_table, loss_bars
from maskmill.reporting.confusion_chart import confusion_chart
from maskmill.reporting.curves import precision_charts, reliability_chart
from maskmill.reporting.data_faults import faults_of
from maskmill.reporting.difference_table import difference_tables
from maskmill.reporting.examples import Gallery, most_changed, worst_and_best
from maskmill.reporting.headlines import headlines
from maskmill.reporting.mistakes import mistakes
from maskmill.reporting.page import page
from maskmill.reporting.slice_table import slice_table

WRONG = "background: predictions there are wrong"
EXCUSED = "void: predictions there are neither right nor wrong, as in COCO's panopticapi"
IN_UNION = "void: it widens the union of segments, as in BDD100K and deeplab2; a prediction mostly on it is not counted"


def write_report(path: Path, gallery: Gallery) -> Path:
    """Write the report of an analysis, with the pictures of a gallery.

    Raises:
        ValueError: an image has another size than its labels.
    """
    sections = [section for section in _sections(gallery) if section.content]
    links = "".join(f'<a href="#{section.id}">{section.title}</a>' for section in sections)
    parts = [f'<h2 id="{section.id}">{section.title}</h2>{section.content}' for section in sections]
    faults = faults_of(gallery.truth.json_path.parent.parent / "dataset.json")
    head = f"<h1>Segmentation report</h1>{_facts(gallery)}<nav>{links}</nav>"
    return write_text(path, page("Segmentation report", [head, *parts, *faults]))


class Section(NamedTuple):
    """A part of the report; without content it is left out."""

    id: str
    title: str
    content: str


def _sections(gallery: Gallery) -> Iterator[Section]:
    analysis, evaluation = gallery.analysis, gallery.analysis.evaluation
    sure = analysis.resampling.num_resamples
    scores = headlines(
        analysis.scores, analysis.bounds, num_images=len(evaluation.images), num_resamples=sure
    )
    yield Section("scores", "Scores", scores)
    if analysis.baseline is not None:
        tables = difference_tables(analysis.differences, num_resamples=sure)
        yield Section(
            "differences", "Against the baseline", "".join([tables, *most_changed(gallery)])
        )
    yield Section("losses", "Where PQ is lost", loss_bars(analysis))
    yield Section("classes", "Classes", class_table(analysis))
    yield Section("confusion", "What is taken for what", _confusion(evaluation))
    yield Section("curves", "Curves", _curves(evaluation))
    yield Section("slices", "Slices", slice_table(analysis.slices))
    yield Section("mistakes", "Mistakes to look at", "".join(mistakes(gallery)))
    yield Section("examples", "Examples", "".join(worst_and_best(gallery)))


def _confusion(evaluation: Evaluation) -> str:
    names = [category.name for category in evaluation.categories] + [
        "background" if evaluation.background else "void"
    ]
    return f"<p>Each row: percent of the pixels of a true class by predicted class.</p>{confusion_chart(evaluation.confusion, names)}"


def _curves(evaluation: Evaluation) -> str:
    parts = []
    if evaluation.ap.numbers:
        curves = evaluation.ap.curves
        names = [
            evaluation.categories[int(category_id)].name for category_id in curves.category_ids
        ]
        parts.append(
            f"<h3>Precision over recall of scored objects</h3>{precision_charts(curves.precision[0], names)}"
        )
    if evaluation.calibration.count.any():
        parts.append(
            f"<h3>Reliability of the scores</h3>{reliability_chart(evaluation.calibration)}"
        )
    return "".join(parts)


def _facts(gallery: Gallery) -> str:
    """What was compared. Paths below the working folder are relative to it and others shortened, so that no machine's layout shows."""
    evaluation = gallery.analysis.evaluation
    rule = WRONG if evaluation.background else IN_UNION if evaluation.void_in_union else EXCUSED
    rows = [("images", str(len(evaluation.images))), ("unlabelled", rule)]
    for name, folder in (
        ("truth", gallery.truth),
        ("prediction", gallery.guess),
        ("baseline", gallery.baseline),
    ):
        if folder is not None:
            digest = hashlib.sha256(folder.json_path.read_bytes()).hexdigest()[:12]
            rows.append((name, f"{escape(_shown(folder.json_path))} <code>sha256 {digest}</code>"))
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{value}</dd>' for name, value in rows)}</dl>"


def _shown(path: Path) -> str:
    here, path = Path.cwd(), path.absolute()
    return (
        path.relative_to(here).as_posix()
        if path.is_relative_to(here)
        else f".../{path.parent.name}/{path.name}"
    )
