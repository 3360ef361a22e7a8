"""conf/ + params.yaml -> out/conf/, one resolved configuration per stage."""

import logging
import sys

from maskmill.assembly.composition import OUT, PARAMS, compose_stages

log = logging.getLogger(__name__)


def main() -> None:
    """Compose in the current folder, as the pipeline's first stage does."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    if len(sys.argv) > 1:
        sys.stderr.write(
            f"compose takes no overrides, but got {sys.argv[1:]} - put them into {PARAMS}\n"
        )
        sys.exit(2)
    try:
        paths = compose_stages()
    except ValueError as error:
        log.error("%s", error)
        sys.exit(1)
    log.info(
        "composed %d stages -> %s (where each value comes from: maskmill config config.params=%s)",
        len(paths),
        OUT,
        PARAMS,
    )


if __name__ == "__main__":
    main()
