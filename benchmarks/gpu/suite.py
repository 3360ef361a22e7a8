"""Measures maskmill on a GPU in parts, and writes results.json and gpu.md.

    benchmarks/gpu/run [--smoke] [--out out/gpu] [--minutes 8] [--parts machine metrics ...]

Each part is a process of its own with a time limit: one that fails or hangs is reported with its
error, and the others go on. Both files are written again after each part, and a part reports each
row when it has it, so nothing is lost if the machine is taken away. `--smoke` runs every part on
the CPU with small sizes; its figures mean nothing.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from benchmarks.gpu.page import write_page

# Name -> limit in seconds, in the order in which they run: facts first, what may be cut off last.
# Together they may take longer than `--minutes`; then the last ones get what is left.
LIMITS = {
    "machine": 60,
    "data": 60,
    "tests": 75,
    "metrics": 45,
    "training": 100,
    "networks": 120,
    "resume": 70,
    "fsdp": 60,
    "postprocess": 45,
    "loader": 75,
    "export": 60,
    "deterministic": 75,
    "compiled": 200,
}
SMOKE_FACTOR = 8  # a slow CPU that other processes use too
MIN_SECONDS = 10  # a part that would have less is not started
PART = "benchmarks.gpu.part"


@dataclass
class Outcome:
    """What became of a part.

    Args:
        status: ok, failed, out of time or not started.
        seconds: that it took, with its imports.
        error: its last lines of output, if it failed.
        facts: name -> value.
        tables: title -> rows, each column -> value.
    """

    status: str
    seconds: float = 0.0
    error: str = ""
    facts: dict = field(default_factory=dict)
    tables: dict = field(default_factory=dict)


def run_part(name, work, *, smoke, limit_s):
    """Run a part as a process and end all processes that it leaves behind."""
    report = work / f"{name}.json"
    log = work / f"{name}.log"
    command = [sys.executable, "-m", PART, name, str(work), *(["--smoke"] if smoke else [])]
    start = time.monotonic()
    status = "ok"
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(limit_s)
            status = "ok" if code == 0 else "failed"
        except subprocess.TimeoutExpired:
            status = f"out of time after {limit_s:.0f} s"
        finally:
            end_group(process)
    written = json.loads(report.read_text()) if report.is_file() else {}
    error = "" if status == "ok" else last_lines(log)
    return Outcome(status, round(time.monotonic() - start, 1), error, **written)


def end_group(process):
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def last_lines(log, num_lines=12):
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join(line[:300] for line in lines[-num_lines:])


def write_results(out, outcomes, *, smoke, started):
    rows = {name: asdict(outcome) for name, outcome in outcomes.items()}
    content = {"smoke": smoke, "started": started, "parts": rows}
    for path, text in (
        (out / "results.json", json.dumps(content, indent=1) + "\n"),
        (out / "gpu.md", write_page(content, descriptions(outcomes))),
    ):
        new = path.with_suffix(".new")
        new.write_text(text)
        new.replace(path)


def descriptions(names):
    """The first paragraph of each part's docstring; parts import nothing heavy at the top."""
    texts = {}
    for name in names:
        module = import_module(f"benchmarks.gpu.parts.{name}")
        texts[name] = " ".join(module.__doc__.split())
    return texts


def parse_options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("out/gpu"))
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--parts", nargs="+", choices=list(LIMITS), default=list(LIMITS))
    return parser.parse_args()


def main():
    options = parse_options()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    factor = SMOKE_FACTOR if options.smoke else 1
    deadline = time.monotonic() + 60 * options.minutes * factor
    outcomes = {}
    with tempfile.TemporaryDirectory(prefix="maskmill-gpu-") as folder:
        for name in options.parts:
            limit_s = min(LIMITS[name] * factor, deadline - time.monotonic())
            if limit_s < MIN_SECONDS:
                outcomes[name] = Outcome("not started: no time was left")
            else:
                outcomes[name] = run_part(name, Path(folder), smoke=options.smoke, limit_s=limit_s)
            write_results(out, outcomes, smoke=options.smoke, started=started)
            print(f"{name:14} {outcomes[name].seconds:6.1f} s  {outcomes[name].status}", flush=True)
            if outcomes[name].error:
                print(outcomes[name].error, flush=True)
    print(f"-> {out / 'results.json'}, {out / 'gpu.md'}")
    sys.exit(any(outcome.status != "ok" for outcome in outcomes.values()))


if __name__ == "__main__":
    main()
