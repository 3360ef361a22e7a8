"""The values of conf/hydra/sweeper/optuna.yaml, for the sweeper and for its jobs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Len
from omegaconf import DictConfig, OmegaConf
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from sqlalchemy.engine import make_url

from maskmill.assembly.targets import ConfigurationTargets
from maskmill.serving.construction import construct

SCORE = "score"
LATENCY = "latency_ms"
SIZE = "size_mb"
NOT_OURS = ("_target_", "_recursive_")  # values of the node that are for Hydra


@dataclass(frozen=True)
class SearchSettings:
    """What is searched, how, and where the study is.

    Args:
        sampler: makes the sampler from a `seed`.
        pruner: decides which trials end early.
        objectives: name to direction. `score` is what a job returns, `latency_ms` the time of the
            model for an image, `size_mb` the size of its weights.
        n_trials: number of trials of the study, over all starts and processes.
        n_jobs: number of trials that the launcher gets at once.
        storage: path of a journal file, or URL of a database.
        study_name: name of the study in the storage.
        seed: seed of the search.
        params: key to the sweep of its values, as on the line.
    """

    sampler: Callable[..., BaseSampler]
    pruner: BasePruner
    objectives: Annotated[
        dict[Literal["score", "latency_ms", "size_mb"], Literal["maximize", "minimize"]], Len(1)
    ]
    n_trials: Annotated[int, Ge(1)]
    n_jobs: Annotated[int, Ge(1)]
    storage: str
    study_name: str
    seed: Annotated[int, Ge(0)]
    params: dict[str, Any]

    @property
    def has_several_objectives(self) -> bool:
        """Is there more than one?"""
        return len(self.objectives) > 1

    @property
    def shown_storage(self) -> str:
        """The storage without a password."""
        return make_url(self.storage).render_as_string() if "://" in self.storage else self.storage


def plain_settings(hydra: DictConfig) -> dict[str, Any]:
    """The values in Hydra's own configuration, with the address and name of the study.

    Args:
        hydra: the node `hydra`, of the sweep or of one of its jobs.
    """
    node = OmegaConf.to_container(hydra.sweeper, resolve=True)
    assert isinstance(node, dict)
    folder = Path(hydra.runtime.cwd) / hydra.sweep.dir
    own = {
        "storage": str(node["storage"] or folder / "study.journal"),
        "study_name": node["study_name"] or folder.name,
    }
    return {str(key): value for key, value in node.items() if key not in NOT_OURS} | own


def search_settings(values: Mapping[str, Any]) -> SearchSettings:
    """The settings of `plain_settings`, checked and built.

    Raises:
        ValueError: one is wrong.
    """
    node = {
        **values,
        "_target_": f"{SearchSettings.__module__}.{SearchSettings.__name__}",
        "sampler": {**values["sampler"], "_partial_": True},
    }
    settings: SearchSettings = construct(node, "hydra.sweeper", ConfigurationTargets())
    return settings
