"""What the commands of the registry are given; checked here, before the work starts."""

from dataclasses import dataclass
from pathlib import Path

REGISTRY = "models:/"


@dataclass(frozen=True)
class PromoteSettings:
    """A version to make champion by hand.

    Args:
        model: models:/NAME/VERSION or models:/NAME@ALIAS.
        reason: why; it is kept with the version.

    Raises:
        ValueError: `model` is no version of the registry, or `reason` is empty.
    """

    model: str
    reason: str

    def __post_init__(self) -> None:
        _require_version("promote.model", self.model)
        _require_reason("promote.reason", self.reason)


@dataclass(frozen=True)
class RollbackSettings:
    """A registered model to roll back.

    Args:
        name: of the registered model.
        reason: why; it is kept with both versions.

    Raises:
        ValueError: `reason` is empty.
    """

    name: str
    reason: str

    def __post_init__(self) -> None:
        _require_reason("rollback.reason", self.reason)


@dataclass(frozen=True)
class ReproduceSettings:
    """A version to train again.

    Args:
        model: models:/NAME/VERSION or models:/NAME@ALIAS.
        out: folder for the model that is trained.

    Raises:
        ValueError: `model` is no version of the registry.
    """

    model: str
    out: Path

    def __post_init__(self) -> None:
        _require_version("reproduce.model", self.model)


def _require_version(name: str, model: str) -> None:
    if not model.startswith(REGISTRY):
        raise ValueError(
            f"{name}: expected a version of the registry, but got {model!r} - write "
            f"{name}=models:/NAME/3; `maskmill models` lists the versions"
        )


def _require_reason(name: str, reason: str) -> None:
    if not reason.strip():
        raise ValueError(
            f"{name}: expected why the champion changes, but got nothing - write "
            f'{name}="...", which is kept with the version'
        )
