"""What is wrong with the tracking store, and its repair."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from maskmill.tracking.abandoned import PROCESS_TAG, end_abandoned_runs, has_died, running_runs
from maskmill.tracking.address import check_store, tracking_uri
from maskmill.tracking.relocation import find_relocations, follow_repository
from maskmill.tracking.store import connect, store_errors
from maskmill.tracking.unsent import send_unsent, unsent_runs


@dataclass(frozen=True)
class Problem:
    """Something to repair.

    Args:
        text: what was found.
        repair: repairs it.
    """

    text: str
    repair: Callable[[], None]


def find_problems() -> list[Problem]:
    """The problems of this project's store; nothing is changed.

    Raises:
        ValueError: the store cannot be used at all, see `check_store`.
    """
    uri = tracking_uri()
    check_store(uri)
    problems = _moved_problems(uri)
    if problems:
        return problems  # connecting would correct the locations at once
    with store_errors():
        return _unsent_problems() + _abandoned_problems()


def _moved_problems(uri: str) -> list[Problem]:
    problems = []
    for relocation in find_relocations(uri):
        text = (
            f"{relocation.database}: its artifacts are in {relocation.old_root}, but this "
            f"repository is {relocation.new_root}"
        )
        problems.append(Problem(text, partial(follow_repository, uri)))
    return problems


def _unsent_problems() -> list[Problem]:
    problems = []
    for unsent in unsent_runs():
        num_values = len(unsent.metrics())
        text = (
            f"{unsent.folder}: {num_values} metric values of run {unsent.run_id} are not in MLflow "
            f"at {unsent.store}"
        )
        problems.append(Problem(text, partial(send_unsent, connect())))
    return problems


def _abandoned_problems() -> list[Problem]:
    client = connect()
    problems = []
    for run in running_runs(client):
        if has_died(run.data.tags.get(PROCESS_TAG, "")):
            text = f"run {run.info.run_id} is shown as running, but its process has died"
            problems.append(Problem(text, partial(end_abandoned_runs, client)))
    return problems
