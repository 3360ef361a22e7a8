"""Damage the files of every format at random and read them:

    python benchmarks/campaign/mutation.py [READER ...] [--inputs 100000] [--seed 0] [--once]

Every input is read in a process that may use 1 GB more than at its start and 2 CPU seconds for the
input. All inputs are read twice, in processes whose fresh memory holds different bytes (glibc's
MALLOC_PERTURB_): a reader that lets foreign memory through gives two digests.

The table has a row per reader: how many inputs were read without a word, read with a finding,
refused with a documented error, and what must be zero: other exceptions, messages that name no file
of the data set, time-outs, crashes, inputs beyond the memory limit, and digests that differ.
Status 1 if one of these is not zero.
"""

import argparse
import json
import mmap
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from readers import Reader

MEMORY = 2**30  # bytes beyond those at the start
SECONDS = 2.0
PATTERNS = ("85", "170")  # MALLOC_PERTURB_ of the two processes
FAULTS = ("exception", "no file named", "hang", "crash", "memory", "differs")
MAX_SHOWN = 8  # kinds of faults printed for a reader
POSITION = struct.Struct("q")


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        _read_all(arguments)
        return
    sys.path.insert(0, str(Path(__file__).parent))
    from readers import READERS

    names = arguments.readers or list(READERS)
    print("| reader | inputs | read | finding | refused | " + " | ".join(FAULTS) + " | peak MB |")
    print("|---|" + "---|" * (5 + len(FAULTS)), flush=True)
    is_clean = True
    for name in names:
        counts, examples, peak = _campaign(name, arguments)
        row = [counts[kind] for kind in ("read", "finding", "refused", *FAULTS)]
        print(f"| {name} | {arguments.inputs} | " + " | ".join(map(str, row)) + f" | {peak} |")
        for signature, indices in list(examples.items())[:MAX_SHOWN]:
            print(f"    {len(indices)} x, first input {indices[0]}: {signature}")
        sys.stdout.flush()
        is_clean &= not any(counts[fault] for fault in FAULTS)
    sys.exit(0 if is_clean else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("readers", nargs="*")
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the first input, to repeat one")
    parser.add_argument("--once", action="store_true", help="read each input once")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


# --- the process that watches


def _campaign(
    name: str, arguments: argparse.Namespace
) -> tuple[Counter[str], dict[str, list[int]], int]:
    """The counts of all outcomes, the inputs of each kind of fault, and the peak memory in MB."""
    counts: Counter[str] = Counter()
    examples: dict[str, list[int]] = {}
    peak = 0
    digests = []
    for pattern in PATTERNS[: 1 if arguments.once else 2]:
        records, pass_peak = _one_pass(name, arguments, pattern)
        peak = max(peak, pass_peak)
        digests.append({record["index"]: record["digest"] for record in records})
        if pattern != PATTERNS[0]:
            continue
        for record in records:
            counts[record["kind"]] += 1
            if record["kind"] in FAULTS:
                signature = f"{record['kind']}: {record['what']}"
                examples.setdefault(signature, []).append(record["index"])
    if len(digests) == 2:
        differing = [index for index in digests[0] if digests[0][index] != digests[1].get(index)]
        counts["differs"] = len(differing)
        if differing:
            examples["differs between the two memories"] = differing
    return counts, examples, peak


def _one_pass(
    name: str, arguments: argparse.Namespace, pattern: str
) -> tuple[list[dict[str, object]], int]:
    """One record per input; a process that dies is replaced and continues after the input."""
    records: list[dict[str, object]] = []
    first = arguments.first
    end = arguments.first + arguments.inputs
    peak = 0
    with tempfile.TemporaryDirectory() as folder:
        position = Path(folder) / "position"
        position.write_bytes(POSITION.pack(first))
        while first < end:
            child = [sys.executable, __file__, name, "--child", folder]
            child += ["--first", str(first), "--inputs", str(end - first)]
            child += ["--seed", str(arguments.seed)]
            environment = os.environ | {"MALLOC_PERTURB_": pattern, "OMP_NUM_THREADS": "1"}
            process = subprocess.run(
                child, stdout=subprocess.PIPE, env=environment, check=False, text=True
            )
            lines = [json.loads(line) for line in process.stdout.splitlines() if line]
            peak = max([peak, *(line["peak"] for line in lines if "peak" in line)])
            records += [line for line in lines if "kind" in line]
            if process.returncode == 0:
                break
            (index,) = POSITION.unpack(position.read_bytes())
            is_hang = process.returncode == -signal.SIGPROF
            what = f"more than {SECONDS:g} CPU seconds" if is_hang else f"{process.returncode}"
            kind = "hang" if is_hang else "crash"
            if index < first:
                raise SystemExit(f"{name}: the reading process cannot start")
            records.append({"index": index, "kind": kind, "what": what, "digest": ""})
            first = index + 1
            _restore(Path(folder))
    return records, peak


def _restore(folder: Path) -> None:
    """Copy the undamaged files over the data set, whose last input is still damaged."""
    shutil.rmtree(folder / "data")
    shutil.copytree(folder / "pristine", folder / "data")


# --- the process that reads


def _read_all(arguments: argparse.Namespace) -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    from mutations import mutated
    from readers import READERS

    (name,) = arguments.readers
    reader = READERS[name]
    root = Path(arguments.child) / "data"
    if not root.exists():
        root.mkdir()
        reader.draw(root)
        shutil.copytree(root, root.with_name("pristine"))
    pristine = root.with_name("pristine")
    files = reader.files(pristine)
    reader.read(root, root / files[0])  # whatever is imported or kept at the first call
    _limit_memory()
    position = mmap.mmap(os.open(root.with_name("position"), os.O_RDWR), POSITION.size)
    for index in range(arguments.first, arguments.first + arguments.inputs):
        position[:] = POSITION.pack(index)
        rng = random.Random(f"{arguments.seed} {name} {index}")
        file = rng.choice(files)
        content = (pristine / file).read_bytes()
        (root / file).write_bytes(mutated(content, file.suffix, rng))
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # SIGPROF ends the process, in C code too
        record = outcome_of(reader, root, root / file)
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps({"index": index, **record}), flush=True)  # a crash must not lose it
        (root / file).write_bytes(content)
    print(json.dumps({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))


def _limit_memory() -> None:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))


def outcome_of(reader: "Reader", root: Path, changed: Path) -> dict[str, str]:
    try:
        outcome = reader.read(root, changed)
    except (ValueError, OSError) as error:
        message = str(error)
        is_named = str(root) in message or changed.name in message
        if type(error) is UnicodeDecodeError or not is_named:
            return {
                "kind": "no file named",
                "what": f"{_where(error)}: {message[:200]}",
                "digest": "",
            }
        return {"kind": "refused", "digest": message.replace(str(root), "ROOT")}
    except MemoryError as error:
        return {"kind": "memory", "what": _where(error), "digest": ""}
    except Exception as error:
        return {"kind": "exception", "what": f"{_where(error)}: {str(error)[:200]}", "digest": ""}
    return {"kind": outcome.kind, "digest": outcome.digest.hex()}


def _where(error: BaseException) -> str:
    """The exception's type and the last line of our own code that it passed."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/maskmill/" in frame.filename] or frames
    return f"{type(error).__name__} at {Path(own[-1].filename).name}:{own[-1].lineno}"


if __name__ == "__main__":
    main()
