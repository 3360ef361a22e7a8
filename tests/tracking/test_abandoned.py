"""A run does not stay RUNNING after its process has died."""

import os
import subprocess
import sys

import pytest

from maskmill.tracking.abandoned import PROCESS_TAG, has_died, this_process
from maskmill.tracking.runs import Tracking
from maskmill.tracking.store import experiment_id

pytestmark = pytest.mark.slow  # a real SQLite store

TRAINING = {"maskmill.training": "a"}


@pytest.fixture
def dead_process():
    """The name of a process that has ended."""
    code = "from maskmill.tracking.abandoned import this_process; print(this_process())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def status(store, run_id):
    return store.get_run(run_id).info.status


def start_another_training(dead=()):
    with Tracking("trial", "next", system_metrics=False).run(None, TRAINING, dead=dead) as run_id:
        return run_id


def test_the_next_training_ends_the_run_of_a_process_that_has_died(store, dead_process):
    tags = TRAINING | {PROCESS_TAG: dead_process}
    killed = store.create_run(experiment_id("trial"), tags=tags).info.run_id
    elsewhere = store.create_run(experiment_id("another"), tags=tags).info.run_id
    later = start_another_training()
    assert status(store, killed) == status(store, elsewhere) == "KILLED"
    assert status(store, later) == "FINISHED"


@pytest.mark.parametrize(
    "process",
    [
        pytest.param(this_process(), id="alive"),
        pytest.param("another-host pid:[1] 999999 1700000000", id="on-another-machine"),
        pytest.param("", id="of-another-program"),
    ],
)
def test_a_run_that_may_be_alive_stays_running(store, process):
    tags = TRAINING | ({PROCESS_TAG: process} if process else {})
    run_id = store.create_run(experiment_id("trial"), tags=tags).info.run_id
    start_another_training()
    assert status(store, run_id) == "RUNNING"


def test_a_run_whose_state_folder_nobody_holds_is_ended(store):
    """The process ran on another machine, which shared the folder."""
    tags = TRAINING | {PROCESS_TAG: "another-host pid:[1] 7 1700000000"}
    run_id = store.create_run(experiment_id("trial"), tags=tags).info.run_id
    start_another_training(dead=[run_id])
    assert status(store, run_id) == "KILLED"


def test_a_process_is_told_from_a_later_one_with_its_id(dead_process):
    machine = this_process().rpartition(" ")[0].rpartition(" ")[0]
    assert has_died(dead_process)
    assert has_died(f"{machine} {os.getpid()} 1700000000")
    assert not has_died(this_process())


def test_an_ended_run_resumes_as_running_and_ends_as_finished(store, dead_process):
    tags = TRAINING | {PROCESS_TAG: dead_process}
    run_id = store.create_run(experiment_id("trial"), tags=tags).info.run_id
    start_another_training()
    with Tracking("trial", "again", system_metrics=False).run(run_id, TRAINING) as resumed:
        assert (resumed, status(store, run_id)) == (run_id, "RUNNING")
        assert store.get_run(run_id).data.tags[PROCESS_TAG] == this_process()
    assert status(store, run_id) == "FINISHED"
