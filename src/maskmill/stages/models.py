"""The registry -> its models, or the versions of one: `maskmill models [NAME]`."""

import argparse
import sys


def main() -> None:
    """Print a table; exit status 1 if there is no such model."""
    parser = argparse.ArgumentParser(prog="maskmill models", description=__doc__)
    parser.add_argument("name", nargs="?", help="of a registered model; without it, all")
    arguments = parser.parse_args()
    from maskmill.tracking.address import check_store, tracking_uri

    try:
        check_store(tracking_uri())
        from maskmill.tracking.version_table import tabulate_versions  # MLflow: not for --help

        sys.stdout.write(tabulate_versions(arguments.name))
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
