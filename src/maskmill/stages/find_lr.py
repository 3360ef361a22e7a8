"""Canonical data set -> the learning rate at which the loss falls fastest."""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from maskmill.assembly.combinations import check_combination
from maskmill.assembly.lean_imports import import_torchmetrics
from maskmill.stages.entry import stage


@stage
def main(cfg: DictConfig) -> float:
    """Run the range test, and return the recommended learning rate."""
    check_combination(cfg, HydraConfig.get().runtime.choices)
    import_torchmetrics()
    from maskmill.assembly.tuning import find_lr  # torch takes seconds to import: not for --help

    return find_lr(cfg)


if __name__ == "__main__":
    main()
