"""The pictures of README.md, drawn again from dvc.yaml and from the report of `make repro`.

    python docs/pictures.py

It needs Chromium, and writes the pipeline and the top of the report to docs/pictures/.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

import yaml
from PIL import Image

REPOSITORY = Path(__file__).parents[1]
FOLDER = Path(__file__).with_name("pictures")
REPORT = REPOSITORY / "out" / "evaluate" / "report.html"
WINDOW = (1120, 700)  # px
COLORS = 128  # of a screenshot; it takes a third of the bytes
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

BOX, GAP, ROW = (118, 44), 34, 64  # px: a stage, between two stages, from stages to their outputs
STYLE = (
    "text{font:14px system-ui,sans-serif;text-anchor:middle}.out{font:12px monospace;fill:#444}"
    "rect{fill:#e8f0fa;stroke:#0060a0}path{stroke:#0060a0;fill:none;marker-end:url(#head)}"
)


def main() -> None:
    """Draw all pictures."""
    FOLDER.mkdir(exist_ok=True)
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    (FOLDER / "pipeline.svg").write_text(draw_pipeline(stages))
    photograph(REPORT, FOLDER / "report.png")


def draw_pipeline(stages: dict[str, dict[str, list[object]]]) -> str:
    """The stages in the order of dvc.yaml, each with what it writes, as SVG."""
    width, height = BOX
    shapes = []
    for index, (name, stage) in enumerate(stages.items()):
        left = GAP / 2 + index * (width + GAP)
        middle = left + width / 2
        shapes.append(f'<rect x="{left}" y="10" width="{width}" height="{height}" rx="6"/>')
        shapes.append(f'<text x="{middle}" y="37">{name}</text>')
        shapes.append(
            f'<text class="out" x="{middle}" y="{ROW + 10}">{written_folder(stage)}</text>'
        )
        if index:
            shapes.append(f'<path d="M{left - GAP + 2} {10 + height / 2}h{GAP - 10}"/>')
    total = len(stages) * (width + GAP)
    head = '<marker id="head" orient="auto" markerWidth="8" markerHeight="8" refY="4" refX="2">'
    head += '<polygon points="0 0 8 4 0 8" fill="#0060a0"/></marker>'
    label = "The stages of the pipeline and the folders that they write"
    start = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {ROW + 22}" role="img"'
    return f'{start} aria-label="{label}"><style>{STYLE}</style>{head}{"".join(shapes)}</svg>\n'


def written_folder(stage: dict[str, list[object]]) -> str:
    """The first two parts of the path of a stage's outputs."""
    (first, *_) = stage["outs"]
    path = next(iter(first)) if isinstance(first, dict) else str(first)
    return "/".join(Path(path).parts[:2])


def photograph(page: Path, path: Path) -> None:
    """Write a picture of the top of a page, as a browser shows it."""
    browser = next(filter(shutil.which, BROWSERS))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    with tempfile.TemporaryDirectory() as profile:
        shot = Path(profile) / "shot.png"
        options += [f"--user-data-dir={profile}", "--window-size={},{}".format(*WINDOW)]
        options += ["--virtual-time-budget=5000", f"--screenshot={shot}"]
        command = [browser, *options, page.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        Image.open(shot).convert("RGB").quantize(COLORS).save(path, optimize=True)


if __name__ == "__main__":
    main()
