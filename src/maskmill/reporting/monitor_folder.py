"""The output of `maskmill monitor`: a page, numbers, a list of images, and gauges."""

import csv
import io
from dataclasses import asdict
from pathlib import Path

from maskmill.canonical.files import write_json, write_text
from maskmill.canonical.output_folder import replaced_folder
from maskmill.evaluation.monitoring import Comparison
from maskmill.reporting.monitor_page import write_monitor_page

COLUMNS = ("image", "time", "confidence", "priority", "reasons")


def write_comparison(
    out: Path, comparison: Comparison, *, model: str, prometheus: Path | None = None
) -> Path:
    """Write everything about a comparison; the folder is replaced as a whole at the end.

    Args:
        out: the folder.
        comparison: what was found.
        model: the first digits of its fingerprint.
        prometheus: a file for gauges; None: none.

    Returns:
        `out`.

    Raises:
        ValueError: `out` contains files that `monitor` did not write, or gauges are asked for, but
            prometheus-client is not installed.
    """
    with replaced_folder(out, written_by="monitor") as folder:
        write_monitor_page(folder / "monitor.html", comparison, model=model)
        write_json(folder / "monitor.json", summarize(comparison, model=model))
        write_text(folder / "to_label.csv", list_candidates(comparison))
    if prometheus is not None:
        write_gauges(prometheus, comparison, model=model)
    return out


def summarize(comparison: Comparison, *, model: str) -> dict[str, object]:
    """The numbers of a comparison as plain values."""
    return {
        "model": model,
        "num_images": comparison.num_images,
        "num_reference_images": comparison.num_reference[0],
        "num_validation_images": comparison.num_reference[1],
        "first": comparison.period[0],
        "last": comparison.period[1],
        "drifts": list(map(asdict, comparison.drifts)),
        "estimates": list(map(asdict, comparison.estimates)),
        "num_to_label": len(comparison.candidates),
    }


def list_candidates(comparison: Comparison) -> str:
    """A CSV file of the images worth labelling, the most worth first."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for candidate in comparison.candidates:
        writer.writerow(
            [
                candidate.name or f"line {candidate.index + 1}",
                candidate.time,
                candidate.confidence,
                candidate.priority,
                candidate.reasons,
            ]
        )
    return file.getvalue()


def write_gauges(path: Path, comparison: Comparison, *, model: str) -> None:
    """Write Prometheus gauges for node-exporter's textfile collector, whole or not at all.

    Args:
        path: NAME.prom.
        comparison: what was found.
        model: the first digits of its fingerprint.

    Raises:
        ValueError: prometheus-client is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry, Gauge, write_to_textfile
    except ModuleNotFoundError as error:
        raise ValueError(
            "monitor.prometheus: expected the package prometheus-client, but it is not installed - "
            "run pip install 'maskmill[serve]'"
        ) from error
    registry = CollectorRegistry()

    def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(f"maskmill_{name}", text, ("model", *labels), registry=registry)

    images = gauge("monitored_images", "Images that were compared with the reference.")
    images.labels(model).set(comparison.num_images)
    candidates = gauge("images_to_label", "Images worth labelling.")
    candidates.labels(model).set(len(comparison.candidates))
    effect = gauge("drift_effect", "Distance of two distributions, 0 to 1.", ("feature",))
    detected = gauge("drift_detected", "1 if the feature drifted, else 0.", ("feature",))
    for drift in comparison.drifts:
        effect.labels(model, drift.feature).set(drift.effect)
        detected.labels(model, drift.feature).set(int(drift.is_drift))
    score = gauge("estimated_score", "A score without labels, a fraction.", ("score", "bound"))
    for row in comparison.estimates:
        bounds = {"value": row.value, "low": row.low, "high": row.high, "reference": row.reference}
        for bound, value in bounds.items():
            score.labels(model, row.score, bound).set(value)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_to_textfile(str(path), registry)
