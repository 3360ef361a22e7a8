"""Runs one part: `python -m benchmarks.gpu.part NAME WORK [--smoke]`."""

import json
import logging
import sys
import warnings
from importlib import import_module
from pathlib import Path


class Part:
    """What a part is given, and where it reports to.

    Args:
        name: of the part.
        work: folder that all parts share.
        smoke: run on the CPU with small sizes.
    """

    def __init__(self, name, work, *, smoke):
        self.smoke = smoke
        self.work = work
        self.device = "cpu" if smoke else "cuda"
        self.accelerator = "cpu" if smoke else "gpu"
        self._path = work / f"{name}.json"
        self._content = {"facts": {}, "tables": {}}

    @property
    def prepared(self):
        """The prepared embedded scenes, which the part `data` wrote."""
        return self.work / "scenes"

    @property
    def large(self):
        """Images of the size of Cityscapes, which the part `data` drew."""
        return self.work / "large"

    def size(self, full, smoke):
        """One of two values."""
        return smoke if self.smoke else full

    def fact(self, name, value):
        """Report a value."""
        self._content["facts"][name] = value
        self._write()

    def row(self, table, **cells):
        """Report a row; underscores of column names become spaces."""
        cells = {name.replace("_", " "): value for name, value in cells.items()}
        self._content["tables"].setdefault(table, []).append(cells)
        self._write()

    def _write(self):
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(self._content))
        new.replace(self._path)


def main():
    name, work = sys.argv[1:3]
    warnings.filterwarnings("ignore")
    logging.basicConfig(level=logging.INFO)
    part = Part(name, Path(work), smoke="--smoke" in sys.argv)
    import_module(f"benchmarks.gpu.parts.{name}").measure(part)


if __name__ == "__main__":
    main()
