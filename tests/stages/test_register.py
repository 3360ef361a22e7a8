"""Registrations in processes of their own, on one SQLite store: at once, and killed."""

import sqlite3
import time
from contextlib import closing

import pytest

from commands import start
from maskmill.canonical.files import read_json
from maskmill.tracking.models import version_of, versions
from maskmill.tracking.version_facts import version_facts
from registry_team import BAD, GOOD, WORSE, Drawn, Team

pytestmark = pytest.mark.slow  # each process composes its configuration and compares

LOCK = "mlruns/.street.lock"
DECISION = "select count(*) from model_version_tags where key = 'decision'"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return Drawn(tmp_path_factory.mktemp("drawn"))


@pytest.fixture
def team(tmp_path, store, drawn):
    return Team(tmp_path, store, drawn)


def candidate(team, by):
    """A trained and evaluated model, as the values of `maskmill register`."""
    folder, model = team.train()
    team.score(folder, model, by)
    settings = team.settings(folder)
    names = ("name", "model", "evaluation", "images", "out")
    return [f"register.{name}={getattr(settings, name)}" for name in names]


def facts_of(team, number):
    """What is kept with the version that the candidate of this number became."""
    version = read_json(team.folder / f"model-{number}" / "register" / "version.json")
    registered = version_of(f"models:/street/{version['version']}")
    return version_facts(registered), version["version"]


def query(team, statement):
    with closing(sqlite3.connect(team.folder / "mlflow.db")) as database:
        return database.execute(statement).fetchall()


def require_ready(team):
    statuses = query(team, "select status from model_versions")
    assert {status for (status,) in statuses} == {"READY"}
    assert query(team, "select count(*) from logged_models where status != 2") == [(0,)]


def test_of_two_at_once_one_becomes_champion_and_both_keep_a_reason(team):
    team.register(WORSE)
    candidates = [candidate(team, by) for by in (BAD, GOOD)]
    processes = [start("register", *values, cwd=team.folder) for values in candidates]
    outputs = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    lost, bad = facts_of(team, 2)
    won, good = facts_of(team, 3)
    assert team.aliases()["champion"] == good
    champions = "select count(*) from registered_model_aliases where alias = 'champion'"
    assert query(team, champions) == [(1,)]
    require_ready(team)
    was_champion = lost["maskmill.alias"] == "champion"  # until the better one was compared with it
    beaten, against = (bad, 1) if was_champion else (1, good)
    assert f"of champion version {beaten}: leads by more than 0 in 100.0%" in won["decision"]
    assert f"of champion version {against}: leads by more than 0 in " in lost["decision"]


def decided(team):
    return query(team, DECISION) == [(2,)]


def locked(team):
    """It has the lock, before or while it makes the version."""
    return (team.folder / LOCK).exists()


@pytest.mark.parametrize("moment", [locked, decided])
def test_a_killed_registration_leaves_nothing_pending_and_keeps_its_reason(team, moment):
    team.register(BAD)
    (team.folder / LOCK).unlink()
    values = candidate(team, GOOD)
    process = start("register", *values, cwd=team.folder)
    while not moment(team):
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    process.kill_group()
    process.communicate()
    before = query(team, "select value from model_version_tags where key = 'decision'")
    again = start("register", *values, "experiment=scenes_panoptic", cwd=team.folder)
    output, _ = again.communicate(timeout=600)
    assert again.returncode == 0, output
    assert "maskmill serve serve.model=models:/street/2" in output
    require_ready(team)
    assert [int(version.version) for version in versions("street")] == [2, 1]
    assert team.aliases() == {"champion": 2}
    facts, _ = facts_of(team, 2)
    assert "of champion version 1: leads by more than 0 in 100.0%" in facts["decision"]
    history = facts["maskmill.history"].splitlines()
    assert len(history) == 1
    if moment is decided:
        assert (facts["decision"],) in before
