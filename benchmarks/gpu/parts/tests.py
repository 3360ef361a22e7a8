"""The tests that are skipped without a CUDA device: `pytest -m gpu`."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[3]
MARK = "pytest.mark.gpu"


def measure(part):
    files = [path for path in sorted(ROOT.glob("tests/**/*.py")) if MARK in path.read_text()]
    part.fact("files", len(files))
    report = part.work / "tests.xml"
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [*command, f"--junit-xml={report}", *map(str, files)], cwd=ROOT, check=False
    )
    for case in ElementTree.parse(report).iter("testcase"):
        children = {child.tag: child for child in case}
        outcomes = [tag for tag in ("failure", "error", "skipped") if tag in children]
        outcome = outcomes[0] if outcomes else "passed"
        reason = children[outcome].get("message", "")[:200] if outcomes else ""
        seconds = round(float(case.get("time", 0)), 2)
        part.row("Tests", test=case.get("name"), outcome=outcome, seconds=seconds, reason=reason)
    sys.exit(result.returncode)
