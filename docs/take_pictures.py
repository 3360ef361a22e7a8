"""Pictures of pages for README.md, from the results of `dvc repro`; needs chromium.

python docs/take_pictures.py out/evaluate/report.html
"""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent / "tests"))
from browser import browser_page  # noqa: E402  (of tests/)

WIDTH, HEIGHT = 1120, 700  # px: the score, what it means, what to try next, and the model
NUM_COLORS = 64  # of the palette: a third of the bytes


def main() -> None:
    """Write docs/pictures/report.png, the upper part of the report."""
    report = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as temporary:
        whole = Path(temporary) / "whole.png"
        with browser_page(Path(temporary)) as page:
            page.open(report.as_uri(), width=WIDTH, height=HEIGHT)
            page.picture(whole)
        picture = Image.open(io.BytesIO(whole.read_bytes())).convert("RGB")
    picture = picture.crop((0, 0, picture.width, HEIGHT)).quantize(NUM_COLORS)
    path = FOLDER / "pictures" / "report.png"
    path.parent.mkdir(exist_ok=True)
    picture.save(path, optimize=True)
    print(path)


if __name__ == "__main__":
    main()
