"""Canonical data set -> the batch sizes that fit into memory, and the speed of each."""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from maskmill.assembly.combinations import check_combination
from maskmill.assembly.lean_imports import import_torchmetrics
from maskmill.stages.entry import stage


@stage
def main(cfg: DictConfig) -> int:
    """Search, and return the recommended batch size."""
    check_combination(cfg, HydraConfig.get().runtime.choices)
    import_torchmetrics()
    from maskmill.assembly.tuning import (
        find_batch_size,  # torch takes seconds to import: not for --help
    )

    return find_batch_size(cfg)


if __name__ == "__main__":
    main()
