"""The report: one HTML file that needs nothing else, for people who would rather look than read."""

import hashlib
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.files import write_text
from maskmill.canonical.folder import PanopticFolder
from maskmill.metrics.evaluation import Evaluation
from maskmill.reporting.data_faults import faults_of
from maskmill.reporting.page import page
from maskmill.reporting.pictures import confusion_picture, find_image, views
from maskmill.reporting.tables import Row, per_class_rows, per_image_rows

HEADLINES = ("PQ", "SQ", "RQ", "PQ/thing", "PQ/stuff", "mIoU", "pixel_accuracy", "AP", "AP50")
COLUMNS = ("PQ", "SQ", "RQ", "IoU", "AP")
RULES = {
    True: "background: predictions there are wrong",
    False: "void: predictions there are neither right nor wrong, as in COCO's panopticapi",
}


def write_report(path: Path, evaluation: Evaluation, target: Path, prediction: Path, *, images: Path | None, num_examples: int) -> Path:
    """Write the report.

    Args:
        path: the HTML file.
        evaluation: what it shows.
        target: the truth's folder or file, for the pictures.
        prediction: likewise.
        images: folder of the images; None: beside the truth.
        num_examples: how many of the worst and of the best images are shown.

    Returns:
        `path`.

    Raises:
        ValueError: an image has another size than its labels.
    """
    truth, guess = PanopticFolder(target), PanopticFolder(prediction)
    last = "background" if evaluation.background else "void"
    sections = [
        f"<h1>Segmentation report</h1>{_facts(evaluation, truth, guess)}",
        f"<h2>Scores</h2>{_cards(evaluation.scores())}",
        f"<h2>Classes</h2>{_class_table(evaluation)}",
        "<h2>What is taken for what</h2><p>Each row: percent of the pixels of a true class by predicted class.</p>",
        f'<img alt="confusion matrix" src="{confusion_picture(evaluation.confusion, evaluation.categories, last=last)}">',
        *_examples(evaluation, truth, guess, images or truth.image_folder, num_examples),
        *faults_of(target.parent / "dataset.json"),
    ]
    return write_text(path, page("Segmentation report", sections))


def _facts(evaluation: Evaluation, truth: PanopticFolder, guess: PanopticFolder) -> str:
    """What was compared. Paths below the working folder are relative to it and others shortened, so that no machine's layout shows."""
    rows = [("images", str(len(evaluation.images))), ("unlabelled", RULES[evaluation.background])]
    for name, folder in (("truth", truth), ("prediction", guess)):
        digest = hashlib.sha256(folder.json_path.read_bytes()).hexdigest()[:12]
        rows.append((name, f"{escape(_shown(folder.json_path))} <code>sha256 {digest}</code>"))
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{value}</dd>' for name, value in rows)}</dl>"


def _shown(path: Path) -> str:
    here, path = Path.cwd(), path.absolute()
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else f".../{path.parent.name}/{path.name}"


def _cards(scores: dict[str, float | None]) -> str:
    shown = [(name, scores[name]) for name in HEADLINES if scores.get(name) is not None]
    cards = "".join(
        f'<div class="card"><span>{escape(name.replace("_", " "))}</span><b>{_percent(value)}</b></div>' for name, value in shown
    )
    return f'<div class="cards">{cards}</div><p>Percent. PQ = SQ x RQ within a class; averages are over the classes that occur.</p>'


def _class_table(evaluation: Evaluation) -> str:
    """One row for each class that occurs; the others by name."""
    columns = COLUMNS if evaluation.ap.numbers else COLUMNS[:-1]
    head = "".join(f"<th>{name}</th>" for name in ("class", *columns, "right", "spurious", "missed"))
    rows, absent = [], []
    for category, row in zip(evaluation.categories, per_class_rows(evaluation), strict=True):
        if any(row[name] != "" for name in columns):
            rows.append(_class_row(_key(category, evaluation.categories), category, row, columns))
        else:
            absent.append(escape(category.name))
    table = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    note = (
        f"<details><summary>{len(absent)} classes neither in the truth nor predicted</summary>{', '.join(absent)}</details>"
        if absent
        else ""
    )
    return f"{table}<p>Right, spurious, missed: segments.</p>{note}"


def _class_row(key: str, category: Category, row: Row, columns: Sequence[str]) -> str:
    kind = "thing" if category.isthing else "stuff"
    cells = "".join(_bar(row[name]) for name in columns) + "".join(f"<td>{row[name]}</td>" for name in ("tp", "fp", "fn"))
    return f"<tr><td>{key} <small>{kind}</small></td>{cells}</tr>"


def _bar(value: object) -> str:
    if not isinstance(value, float):
        return "<td>-</td>"
    return f'<td class="bar" style="--share:{100 * value:.1f}%">{_percent(value)}</td>'


def _key(category: Category, categories: Categories) -> str:
    """A class's colour, number and name."""
    return f'<i class="swatch" style="background:rgb{category.color}"></i>{categories.index[category.id] + 1}&nbsp;{escape(category.name)}'


def _examples(evaluation: Evaluation, truth: PanopticFolder, guess: PanopticFolder, images: Path, num_examples: int) -> Iterable[str]:
    metric = "PQ" if evaluation.categories.isthing.any() else "mIoU"
    rows = per_image_rows(evaluation)
    scored = sorted((float(str(row[metric])), place) for place, row in enumerate(rows) if row[metric] != "")
    worst = scored[: min(num_examples, (len(scored) + 1) // 2)]
    best = scored[: len(worst) - 1 : -1][:num_examples]
    if not worst:
        return
    chosen = [place for _, place in worst + best]
    yield f"<h2>Examples</h2>{_legend(evaluation, chosen)}"
    for title, group in (("Worst", worst), ("Best", best)):
        if group:
            yield f"<h2>{title} images by {metric}</h2>"
        for value, place in group:
            yield _example(evaluation, place, f"{metric} {_percent(value)}", truth, guess, images)


def _example(evaluation: Evaluation, place: int, score: str, truth: PanopticFolder, guess: PanopticFolder, images: Path) -> str:
    record = evaluation.images[place].record
    labels, pred = truth.panoptic(record.id), guess.panoptic(record.id)
    shown = views(find_image(images, record), labels, pred, evaluation.categories, background=evaluation.background)
    cells = "".join(f'<div><img alt="{name}" src="{uri}"><small>{name}</small></div>' for name, uri in shown.items())
    return f'<figure><figcaption><b>{escape(record.file_name)}</b> {score}</figcaption><div class="views">{cells}</div></figure>'


def _legend(evaluation: Evaluation, places: Sequence[int]) -> str:
    """The classes of some images."""
    categories = evaluation.categories
    seen = {int(index) for place in places for axis in evaluation.images[place].confusion.nonzero() for index in axis}
    keys = "".join(f"<span>{_key(category, categories)}</span>" for number, category in enumerate(categories) if number in seen)
    uncounted = "" if evaluation.background else ", gray: unlabelled, does not count"
    return f"<p class='legend'>{keys}</p><p>Numbers stand for classes. Wrong class: bright{uncounted}.</p>"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
