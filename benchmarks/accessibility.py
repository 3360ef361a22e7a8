"""What axe-core finds on pages at desktop and phone width, and whether a page is too wide.

    npm install axe-core
    python benchmarks/accessibility.py node_modules/axe-core/axe.min.js out/evaluate/report.html ...

A page is a file or an address. `--pictures FOLDER` keeps what the windows showed, and `--dark` asks
for dark colours. axe leaves open what it cannot measure, such as text on a gradient. The status is
1 if it finds a violation or a page is wider than its window. It needs chromium.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browser import browser_page

SIZES = ((1280, 900), (390, 844))  # CSS px: a desktop, a phone
OPEN = "document.querySelectorAll('details').forEach(part => part.open = true)"
TOO_WIDE = "document.documentElement.scrollWidth - innerWidth"
RUN = """axe.run().then(({violations, incomplete}) => [
    violations.map(found => [found.id, found.help, found.nodes.map(node => node.html)]),
    incomplete.map(found => [found.id, found.help, found.nodes.map(node => node.html)])])"""


def check(page, axe, url, size):
    """What axe finds, what it leaves open, and by how many px the page is too wide."""
    width, height = size
    page.open(url, width=width, height=height)
    page.run(OPEN)
    too_wide = page.run(TOO_WIDE)
    page.run(axe)
    options = {"expression": RUN, "awaitPromise": True, "returnByValue": True}
    violations, undecided = page.call("Runtime.evaluate", **options)["result"]["value"]
    return violations, undecided, too_wide


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("axe", type=Path)
    parser.add_argument("pages", nargs="+")
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--dark", action="store_true")
    args = parser.parse_args()
    axe = args.axe.read_text()
    num_problems = 0
    with tempfile.TemporaryDirectory() as folder, browser_page(Path(folder)) as page:
        if args.dark:
            dark = [{"name": "prefers-color-scheme", "value": "dark"}]
            page.call("Emulation.setEmulatedMedia", features=dark)
        for number, name in enumerate(args.pages):
            url = name if "://" in name else Path(name).resolve().as_uri()
            for size in SIZES:
                violations, undecided, too_wide = check(page, axe, url, size)
                num_problems += len(violations) + (too_wide > 0)
                found = f"{len(violations)} violations, {len(undecided)} undecided"
                print(f"{name}, {size[0]} px: {found}, {max(too_wide, 0)} px too wide")
                for rule, what, nodes in violations:
                    print(f"  {rule}: {what} ({len(nodes)}), first {nodes[0][:200]}")
                for rule, _, nodes in undecided:
                    print(f"  undecided: {rule} ({len(nodes)})")
                if args.pictures:
                    page.picture(args.pictures / f"{number}-{size[0]}.png")
    return 1 if num_problems else 0


if __name__ == "__main__":
    sys.exit(main())
