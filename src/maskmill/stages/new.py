"""A folder name -> a project of the user's own: `maskmill new FOLDER`."""

import argparse
import sys
from pathlib import Path

from maskmill.assembly.project import create_project


def main() -> None:
    """Write the project and say how to continue."""
    parser = argparse.ArgumentParser(prog="maskmill new", description=__doc__)
    parser.add_argument("folder", type=Path, help="does not exist yet, or is empty")
    arguments = parser.parse_args()
    try:
        project = create_project(arguments.folder)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
    sys.stdout.write(
        f"new project with drawn street scenes -> {project.folder}\n"
        f"run its pipeline with: {project.next_commands}\n"
        f"use your own data: see {project.folder / 'README.md'}\n"
    )


if __name__ == "__main__":
    main()
