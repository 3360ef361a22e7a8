"""The machine and the project -> what is wrong: `maskmill doctor [--fix] [--json]`."""

import argparse
import json
import logging
import sys
from collections import Counter
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maskmill.assembly.diagnosis import Diagnosis

EXIT_STATUS = "exit status: 0 without errors, 1 with errors, 2 for a wrong command line"


def main() -> None:
    """Print what was looked at, or repair; exit status 1 if an error is left."""
    parser = argparse.ArgumentParser(
        prog="maskmill doctor", description=__doc__, epilog=EXIT_STATUS
    )
    parser.add_argument("--fix", action="store_true", help="repair what can be repaired")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        found = _diagnose(Path.cwd(), repairs=arguments.fix)
    except (ValueError, OSError) as error:  # of a repair
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
    if arguments.json:
        rows = [diagnosis.as_dict() for diagnosis in found]
        sys.stdout.write(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    else:
        sys.stdout.writelines(f"{diagnosis}\n" for diagnosis in found)
    counts = Counter(map(attrgetter("status"), found))
    if not arguments.json:
        sys.stdout.write(f"{counts['error']} errors, {counts['warning']} warnings\n")
    sys.exit(1 if counts["error"] else 0)


def _diagnose(project: Path, *, repairs: bool) -> "list[Diagnosis]":
    # torch, DVC and MLflow take seconds: not for --help
    from maskmill.assembly.machine_checks import check_machine
    from maskmill.assembly.project_checks import check_project

    found = list(check_project(project))
    if repairs:
        for diagnosis in found:
            if diagnosis.repair is not None:
                diagnosis.repair()
        found = list(check_project(project))
    return [*check_machine(project), *found]


if __name__ == "__main__":
    main()
