"""The study of a search: its storage, and which process runs which of its trials.

A trial that runs names its sweeper and its job as processes. When both are dead, the trial waits
again, under its own number, so that a killed search leaves no trial behind and none twice.
"""

import hashlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy.exc
from filelock import FileLock
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url

from maskmill.tracking.abandoned import has_died, is_of_this_machine, this_process

SWEEPER = "sweeper"  # attribute of a trial: the process that asked for it
JOB = "job"  # the process that trains it; empty when it has ended
SEEN = "seen"  # when one of the two was seen alive, in seconds of the epoch
PRUNED = "pruned"  # true when its job has ended early
SILENCE_S = 900.0  # after which processes of another machine count as dead
WAIT_S = 2.0

STORAGE_ERRORS = (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError, OSError)

optuna.logging.set_verbosity(optuna.logging.WARNING)


def open_storage(storage: str) -> BaseStorage:
    """The storage of a journal file or of a database.

    Args:
        storage: path of a journal file, which is made if missing; or sqlite:///FILE, or
            postgresql+psycopg2://USER:PASSWORD@HOST/NAME.

    Raises:
        ValueError: the database cannot be opened.
    """
    if "://" not in storage:
        Path(storage).parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(storage))
    url = _database(storage)
    options = {"connect_args": {"timeout": 60}} if url.database and _is_sqlite(url) else {}
    try:
        return RDBStorage(storage, engine_kwargs={"pool_pre_ping": True, **options})
    except (ImportError, sqlalchemy.exc.SQLAlchemyError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"hydra.sweeper.storage={url.render_as_string()}: expected a database for studies, but "
            f"got: {reason} - check the address, and that the server runs"
        ) from error


def open_study(
    storage: str, name: str, objectives: Mapping[Any, str], pruner: optuna.pruners.BasePruner
) -> optuna.Study:
    """The study of that name; it is made if the storage has none.

    Raises:
        ValueError: the study was made for other objectives, or the storage cannot be opened.
    """
    directions = [StudyDirection[direction.upper()] for direction in objectives.values()]
    with study_lock(storage):
        study = optuna.create_study(
            storage=open_storage(storage),
            study_name=name,
            directions=directions,
            pruner=pruner,
            load_if_exists=True,
        )
        made_for = study.user_attrs.get("objectives", dict(objectives))
        if made_for != objectives:
            raise ValueError(
                f"study {name}: expected the objectives {made_for}, which it was made for, but got "
                f"{objectives} - either restore hydra.sweeper.objectives or choose another "
                "hydra.sweeper.study_name"
            )
        study.set_user_attr("objectives", dict(objectives))
    return study


@contextmanager
def study_lock(storage: str) -> Iterator[None]:
    """Let one process at a time hand out trials; the lock ends with its process.

    Raises:
        ValueError: the database is of another kind than SQLite and PostgreSQL.
    """
    if "://" not in storage:
        Path(storage).parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{storage}.trials"):
            yield
        return
    url = _database(storage)
    if _is_sqlite(url):
        with FileLock(f"{url.database}.trials"):
            yield
        return
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    key = int.from_bytes(hashlib.sha256(b"maskmill.study").digest()[:6], "big")
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("select pg_advisory_xact_lock(:key)"), {"key": key})
        yield


def _database(storage: str) -> sqlalchemy.URL:
    url = make_url(storage)
    if not (_is_sqlite(url) or url.get_backend_name() == "postgresql"):
        raise ValueError(
            f"hydra.sweeper.storage={url.render_as_string()}: expected a journal file, "
            "sqlite:///FILE or postgresql+psycopg2://..., but got another kind of database - "
            "choose one of these"
        )
    return url


def _is_sqlite(url: sqlalchemy.URL) -> bool:
    return url.get_backend_name() == "sqlite"


def claim(storage: BaseStorage, trial_id: int) -> None:
    """Note that this process asked for a trial."""
    storage.set_trial_user_attr(trial_id, SWEEPER, this_process())
    storage.set_trial_user_attr(trial_id, JOB, "")
    note_alive(storage, trial_id)


def note_alive(storage: BaseStorage, trial_id: int) -> None:
    """Note the time: a sign of life for processes on other machines."""
    storage.set_trial_user_attr(trial_id, SEEN, time.time())


def requeue_abandoned(study: optuna.Study) -> None:
    """Let the running trials of dead processes wait again; call it within `study_lock`."""
    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        if not is_abandoned(trial):
            continue
        if trial.user_attrs.get(PRUNED):
            study.tell(trial.number, state=TrialState.PRUNED)
        else:
            requeue(study._storage, trial)


def requeue(storage: BaseStorage, trial: FrozenTrial) -> None:
    """Let a running trial wait for the next process that asks."""
    storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)


def is_abandoned(trial: FrozenTrial) -> bool:
    """Are both processes of a running trial dead?"""
    names = [trial.user_attrs.get(key, "") for key in (SWEEPER, JOB)]
    is_silent = time.time() - trial.user_attrs.get(SEEN, 0.0) > SILENCE_S
    return all(_is_dead(name, is_silent) for name in names if name)


def is_orphan(trial: FrozenTrial) -> bool:
    """Does a running trial still train on this machine, although its sweeper is dead?"""
    sweeper = trial.user_attrs.get(SWEEPER, "")
    is_running = trial.state == TrialState.RUNNING
    return is_running and has_died(sweeper) and not is_abandoned(trial)


def _is_dead(process: str, is_silent: bool) -> bool:
    return has_died(process) if is_of_this_machine(process) else is_silent


@contextmanager
def signs_of_life(storage: BaseStorage, trials: Sequence[FrozenTrial]) -> Iterator[None]:
    """Note every few minutes that this process lives, for processes on other machines."""
    ended = threading.Event()

    def note() -> None:
        while not ended.wait(SILENCE_S / 5):
            for trial in trials:
                with suppress(Exception):  # a server that is down: the next note counts
                    note_alive(storage, trial._trial_id)

    thread = threading.Thread(target=note, name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
