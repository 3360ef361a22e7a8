"""The report: one HTML file that needs nothing else, for people who would rather look than read."""

from collections.abc import Iterable
from html import escape
from pathlib import Path

from maskmill.canonical.categories import Category
from maskmill.canonical.files import write_text
from maskmill.canonical.folder import PanopticFolder
from maskmill.metrics.evaluation import Evaluation
from maskmill.reporting.pictures import confusion_picture, triptych
from maskmill.reporting.tables import Row, per_class_rows, per_image_rows

HEADLINES = ("PQ", "SQ", "RQ", "PQ/thing", "PQ/stuff", "mIoU", "pixel_accuracy", "AP", "AP50")
COLUMNS = ("PQ", "SQ", "RQ", "IoU")

HEAD = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Segmentation report</title>'
STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 0 auto; max-width: 64rem; padding: 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; } p { margin: .25rem 0; color: #444; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.5rem, 1fr)); gap: .5rem; }
.card { border: 1px solid #ccc; border-radius: .4rem; padding: .4rem .6rem; } .card b { display: block; font-size: 1.35rem; }
.card span, figcaption { color: #444; font-size: .85rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .5rem; text-align: right; border-bottom: 1px solid #e4e4e4; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 6rem; }
td.bar { background: linear-gradient(to right, #bcd4ec var(--share), transparent var(--share)); min-width: 4rem; }
.swatch { display: inline-block; width: .8rem; height: .8rem; border: 1px solid #444; margin-right: .4rem; vertical-align: -1px; }
.legend span { display: inline-block; margin-right: 1rem; } img { max-width: 100%; height: auto; }
figure { margin: 0 0 1rem; } .views { display: grid; grid-template-columns: repeat(3, 1fr); gap: .25rem; }
.views img { width: 100%; image-rendering: pixelated; display: block; }
@media (max-width: 36rem) { .views { grid-template-columns: 1fr; } }
"""


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
    """
    ground = "background" if evaluation.background else "void"
    note = (
        "Unlabelled pixels of the truth are background: predictions there are wrong."
        if evaluation.background
        else ("Unlabelled pixels of the truth are void: predictions there are neither right nor wrong, as in COCO's panopticapi.")
    )
    sections = [
        "<h1>Segmentation report</h1>",
        f"<p>{len(evaluation.images)} images of {escape(str(target))}, predictions of {escape(str(prediction))}. {note}</p>",
        f"<h2>Scores</h2>{_cards(evaluation.scores())}",
        f"<h2>Classes</h2>{_class_table(evaluation)}",
        "<h2>What is taken for what</h2><p>Each row: percent of the pixels of a true class by predicted class.</p>",
        f'<img alt="confusion matrix" src="{confusion_picture(evaluation.confusion, evaluation.categories, last=ground)}">',
        *_examples(evaluation, target, prediction, images, num_examples),
    ]
    body = "\n".join(sections)
    return write_text(path, f'<!doctype html>\n<html lang="en"><head>{HEAD}<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n')


def _cards(scores: dict[str, float | None]) -> str:
    shown = [(name, scores[name]) for name in HEADLINES if scores.get(name) is not None]
    cards = "".join(
        f'<div class="card"><span>{escape(name.replace("_", " "))}</span><b>{_percent(value)}</b></div>' for name, value in shown
    )
    return f'<div class="cards">{cards}</div><p>Percent. PQ = SQ x RQ within a class; averages are over the classes that occur.</p>'


def _class_table(evaluation: Evaluation) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("class", *COLUMNS, "right", "spurious", "missed"))
    categories = {category.name: category for category in evaluation.categories}
    rows = "".join(_class_row(categories[str(row["category"])], row) for row in per_class_rows(evaluation))
    table = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    return f"{table}<p>Right, spurious, missed: segments.</p>"


def _class_row(category: Category, row: Row) -> str:
    kind = "thing" if category.isthing else "stuff"
    cells = "".join(_bar(row[name]) for name in COLUMNS) + "".join(f"<td>{row[name]}</td>" for name in ("tp", "fp", "fn"))
    return f"<tr><td>{_swatch(category)}{escape(category.name)} <small>{kind}</small></td>{cells}</tr>"


def _bar(value: object) -> str:
    if not isinstance(value, float):
        return "<td>-</td>"
    return f'<td class="bar" style="--share:{100 * value:.1f}%">{_percent(value)}</td>'


def _swatch(category: Category) -> str:
    return f'<i class="swatch" style="background:rgb{category.color}"></i>'


def _examples(evaluation: Evaluation, target: Path, prediction: Path, images: Path | None, num_examples: int) -> Iterable[str]:
    metric = "PQ" if any(image.counts.any() for image in evaluation.images) and not _is_semantic(evaluation) else "mIoU"
    rows = per_image_rows(evaluation)
    scored = sorted((float(str(row[metric])), place) for place, row in enumerate(rows) if row[metric] != "")
    truth, guess = PanopticFolder(target), PanopticFolder(prediction)
    num = min(num_examples, (len(scored) + 1) // 2)
    legend = "".join(f"<span>{_swatch(category)}{escape(category.name)}</span>" for category in evaluation.categories)
    for title, chosen in (("Worst images", scored[:num]), ("Best images", scored[::-1][:num])):
        yield f"<h2>{title} by {metric}</h2><p>Image, truth, prediction.</p><p class='legend'>{legend}</p>"
        for value, place in chosen:
            record = evaluation.images[place].record
            views = triptych(truth, images, record, guess.panoptic(record.id))
            pictures = "".join(f'<img alt="{alt}" src="{view}">' for alt, view in zip(("image", "truth", "prediction"), views, strict=True))
            caption = f"{escape(record.file_name)}: {metric} {_percent(value)}"
            yield f'<figure><div class="views">{pictures}</div><figcaption>{caption}</figcaption></figure>'


def _is_semantic(evaluation: Evaluation) -> bool:
    return not evaluation.categories.isthing.any()


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
