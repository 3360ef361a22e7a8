"""Search for inputs that reach new lines of a reader, with atheris (`pip install atheris`):

    python benchmarks/campaign/coverage_guided.py READER [--runs 20000] [--seed 1]

The corpus starts with the files of the reader's valid data set; an input is one of them changed. It
prints the kinds of undocumented exceptions with an example each, and ends with status 1 if there
are any. `mutation.py` has the limits on time and memory; this search has those of libFuzzer.
"""

import argparse
import base64
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))
with atheris.instrument_imports(include=["maskmill.sources", "maskmill.canonical"]):
    from mutation import FAULTS, SECONDS, outcome_of
    from readers import READERS

TIMEOUT_S = 60  # of wall time, for an endless loop; the limit of `mutation.py` is checked too
MEGABYTES = 2048


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("reader", choices=list(READERS))
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    reader = READERS[arguments.reader]
    folder = Path(tempfile.mkdtemp())
    root = folder / "data"
    root.mkdir()
    reader.draw(root)
    files = sorted(set(reader.files(root)))[:256]
    pristine = {file: (root / file).read_bytes() for file in files}
    corpus = folder / "corpus"
    corpus.mkdir()
    for index, file in enumerate(files):
        (corpus / f"{index:03}").write_bytes(bytes([index]) + pristine[file])
    faults: dict[str, bytes] = {}

    def read_one(data: bytes) -> None:
        """The first byte chooses the file that the others become."""
        file = files[data[0] % len(files)] if data else files[0]
        (root / file).write_bytes(data[1:])
        start = time.process_time()
        record = outcome_of(reader, root, root / file)
        if time.process_time() - start > SECONDS:
            record = {"kind": "hang", "what": f"more than {SECONDS:g} CPU seconds"}
        (root / file).write_bytes(pristine[file])
        if record["kind"] in FAULTS:
            faults.setdefault(f"{record['kind']}: {record['what']}", data)
        seen[0] += 1
        if seen[0] == arguments.runs:
            report(arguments.reader, seen[0], faults)
            shutil.rmtree(folder)
            os._exit(1 if faults else 0)  # libFuzzer has no return

    seen = [0]
    options = [f"-timeout={TIMEOUT_S}", f"-artifact_prefix={folder}/", f"-rss_limit_mb={MEGABYTES}"]
    options += [f"-seed={arguments.seed}", "-max_len=100000", "-verbosity=0"]
    atheris.Setup([sys.argv[0], str(corpus), *options], read_one)
    atheris.Fuzz()


def report(name: str, runs: int, faults: dict[str, bytes]) -> None:
    print(f"{name}: {runs} inputs, {len(faults)} kinds of faults")
    for what, data in faults.items():
        print(f"    {what}\n        {base64.b64encode(data[:150]).decode()}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
