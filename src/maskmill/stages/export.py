"""A model -> ONNX, OpenVINO or a program, compared with the model on real images."""

import logging

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.export_settings import ExportSettings
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)


@stage
def main(cfg: DictConfig) -> None:
    """Export, compare, write."""
    settings = build(cfg.export, ExportSettings)
    from maskmill.assembly.exporting import Exporting  # torch takes seconds: not for --help

    record = Exporting(settings).run()
    log.info("%s -> %s", ", ".join(record["runtimes"]), settings.out)


if __name__ == "__main__":
    main()
