"""The tracking store -> what is wrong with it: `maskmill doctor [--fix]`."""

import argparse
import logging
import sys


def main() -> None:
    """Print the problems, or repair them; exit status 1 if there are any left."""
    parser = argparse.ArgumentParser(prog="maskmill doctor", description=__doc__)
    parser.add_argument("--fix", action="store_true", help="repair what can be repaired")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    from maskmill.tracking.doctor import find_problems  # MLflow takes seconds: not for --help

    try:
        problems = find_problems()
        for problem in problems:
            sys.stdout.write(f"{problem.text}\n")
            if arguments.fix:
                problem.repair()
        if arguments.fix and problems:
            problems = find_problems()
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
    hint = " - run `maskmill doctor --fix`" if problems and not arguments.fix else ""
    sys.stdout.write(f"{len(problems)} problems of the tracking store{hint}\n")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
