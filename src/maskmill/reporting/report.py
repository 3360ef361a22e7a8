"""The report of an evaluation: one self-contained HTML file."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from maskmill.canonical.dataset_file import read_dataset_file, read_prediction_file
from maskmill.canonical.files import write_text
from maskmill.canonical.folder import PanopticFolder
from maskmill.evaluation.analysis import Analysis
from maskmill.evaluation.deciding import Task
from maskmill.evaluation.evaluation import Evaluation
from maskmill.metrics.functional.calibration_error import reliability, scored_segments
from maskmill.postprocess.calibration import Calibration
from maskmill.reporting.confusion_chart import draw_confusion_matrix
from maskmill.reporting.curve_charts import (
    LEVELS,
    Figure,
    PrecisionFigures,
    precision_figures,
    reliability_figure,
)
from maskmill.reporting.data_problems import tabulate_problems
from maskmill.reporting.difference_tables import (
    CLASS_METRICS,
    DifferenceTables,
    tabulate_differences,
)
from maskmill.reporting.error_crops import draw_error_crops
from maskmill.reporting.examples import Gallery, find_extremes, find_most_changed
from maskmill.reporting.findings import find_findings
from maskmill.reporting.learning_charts import learning_figures
from maskmill.reporting.origin import NUM_DIGITS, RUN_FACTS
from maskmill.reporting.pages import render_page
from maskmill.reporting.score_tables import (
    headline_groups,
    loss_bars,
    tabulate_classes,
    tabulate_headlines,
    tabulate_slices,
)
from maskmill.reporting.suggestions import find_suggestions

BACKGROUND = "count as background: predictions on them are errors"
VOID = "are ignored, as in COCO's panopticapi and deeplab2"
VOID_IN_UNION = (
    "are part of the union of segments, as in BDD100K's evaluator; "
    "a prediction mostly on them is ignored"
)


@dataclass(frozen=True)
class Source:
    """A folder that was compared: its role, its JSON file and the digest of that file."""

    role: str
    path: str
    digest: str


def write_report(path: Path, gallery: Gallery) -> Path:
    """Write the report of an analysis, with the pictures of a gallery.

    Raises:
        ValueError: an image has another size than its labels.
    """
    analysis = gallery.analysis
    evaluation = analysis.evaluation
    task, origin = gallery.task, gallery.origin
    dataset = _read_dataset(gallery.target)
    values = {
        "task": task,
        "findings": find_findings(analysis, task, origin),
        "suggestions": find_suggestions(analysis, task, origin, dataset),
        "facts": {**origin.facts(), **_data_facts(evaluation, dataset)},
        "run_facts": RUN_FACTS if origin.fingerprint else "",
        "unlabelled": _void_rule(evaluation),
        "sources": _sources(gallery),
        "headlines": tabulate_headlines(analysis, task),
        "learning": learning_figures(origin.history, task.metric),
        "differences": _differences(analysis, task),
        "changed": find_most_changed(gallery),
        "losses": loss_bars(analysis, task),
        "classes": tabulate_classes(analysis, task),
        "confusion": _draw_confusion(evaluation),
        "levels": LEVELS,
        "precision": _precision(evaluation) if task.counts_segments else None,
        "reliability": _reliability(evaluation) if task.counts_segments else None,
        "calibration": _calibration_rows(gallery.pred, evaluation),
        "slices": tabulate_slices(analysis.slices, task),
        "errors": draw_error_crops(gallery),
        "examples": find_extremes(gallery),
        "data": tabulate_problems(dataset),
    }
    return write_text(path, render_page("report", **values))


def _differences(analysis: Analysis, task: Task) -> DifferenceTables | None:
    """The differences from the baseline, of what the task counts first."""
    headlines: list[str] = []
    for metrics in headline_groups(task, analysis.evaluation.categories).values():
        headlines += metrics
    return tabulate_differences(
        analysis.differences,
        num_resamples=analysis.resampling.num_resamples,
        headlines=headlines,
        class_metrics=CLASS_METRICS if task.counts_segments else ("IoU",),
    )


def _data_facts(evaluation: Evaluation, dataset: Mapping[str, Any]) -> dict[str, str]:
    """What the model was trained and scored on."""
    number = evaluation.categories.num_classes
    words = ["1 class" if number == 1 else f"{number} classes"]
    splits = dataset.get("splits", {})
    for split, name in (("train", "training"), ("val", "validation")):
        if split in splits:
            words.append(f"{splits[split]['num_images']} {name} images")
    words.append(f"{len(evaluation.images)} images scored here")
    digest = dataset.get("digest")
    if digest:
        words.append(f"digest {digest[:NUM_DIGITS]}")
    return {"data": ", ".join(words)}


def _void_rule(evaluation: Evaluation) -> str:
    if evaluation.background:
        return BACKGROUND
    return VOID_IN_UNION if evaluation.void_in_union else VOID


def _sources(gallery: Gallery) -> list[Source]:
    folders = {
        "ground truth": gallery.target,
        "prediction": gallery.pred,
        "baseline": gallery.baseline,
    }
    sources = []
    for role, folder in folders.items():
        if folder is not None:
            digest = hashlib.sha256(folder.json_path.read_bytes()).hexdigest()[:12]
            sources.append(Source(role, _shorten(folder.json_path), digest))
    return sources


def _shorten(path: Path) -> str:
    """A path relative to the working folder, else its end: no machine's layout gets into a page."""
    path = path.absolute()
    if path.is_relative_to(Path.cwd()):
        return path.relative_to(Path.cwd()).as_posix()
    return f".../{path.parent.name}/{path.name}"


def _draw_confusion(evaluation: Evaluation) -> Markup:
    names = [category.name for category in evaluation.categories]
    names.append("background" if evaluation.background else "void")
    return draw_confusion_matrix(evaluation.confusion, names)


def _precision(evaluation: Evaluation) -> PrecisionFigures | None:
    if not evaluation.ap.numbers:
        return None
    curves = evaluation.ap.curves
    names = []
    for category_id in curves.category_ids:
        names.append(evaluation.categories[int(category_id)].name)
    return precision_figures(curves.precision[0], names)


def _reliability(evaluation: Evaluation) -> Figure | None:
    bins = evaluation.calibration
    return reliability_figure(bins) if bins.count.any() else None


def _calibration_rows(pred: PanopticFolder, evaluation: Evaluation) -> list[dict[str, Any]]:
    """Calibration errors before and after: of validation images, then of the evaluated ones."""
    path = pred.json_path.parent / "prediction.json"
    origin = read_prediction_file(path) if path.is_file() else {}
    summary = origin.get("calibration", {})
    rows = []
    for name in ("pixels", "segments"):
        if name in summary:
            what = f"{name} of {summary['num_images']} validation images"
            rows.append({"what": what, **summary[name]})
    if "score_calibration" in origin and evaluation.calibration.count.any():
        inverse = Calibration(**origin["score_calibration"]).inverse_of_scores()
        what = f"segments of {len(evaluation.images)} evaluated images"
        rows.append({"what": what, **_evaluated_errors(evaluation, inverse)})
    return rows


def _evaluated_errors(evaluation: Evaluation, inverse: Calibration) -> dict[str, float]:
    """The calibration error of the evaluated segments, before calibration and as they are."""
    score, correct = scored_segments(image.matches for image in evaluation.images)
    before = np.array(list(map(inverse.segment_score, score.tolist())))
    return {
        "count": len(score),
        "ece_before": reliability(before, correct).ece,
        "ece_after": evaluation.calibration.ece,
    }


def _read_dataset(target: PanopticFolder) -> dict[str, Any]:
    """The content of dataset.json; empty where `prepare` did not write the ground truth."""
    path = target.json_path.parent.parent / "dataset.json"
    return read_dataset_file(path) if path.is_file() else {}
