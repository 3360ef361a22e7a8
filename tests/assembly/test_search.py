"""Searches by Hydra's multirun on real studies, with tasks that take no time."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import optuna
import pytest
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from optuna.trial import TrialState

from maskmill.assembly.conf_search_path import packaged_conf, register_search_path
from maskmill.assembly.search_trial import SearchTrial
from maskmill.assembly.study import (
    JOB,
    SEEN,
    SILENCE_S,
    SWEEPER,
    is_abandoned,
    is_orphan,
    open_storage,
    study_lock,
)
from maskmill.stages.entry import JobError
from maskmill.tracking.abandoned import this_process
from maskmill.training.pruning import TRIAL_VARIABLE

FORK = multiprocessing.get_context("fork")
CONFIG = """
x: 0
kind: a
hydra:
  searchpath: ['file://{conf}']
  output_subdir: null
  sweep: {{dir: study, subdir: '${{hydra.job.num}}'}}
"""
SPACE = ("x=interval(0,1)",)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/config.yaml").write_text(CONFIG.format(conf=packaged_conf()))
    yield tmp_path
    GlobalHydra.instance().clear()


def search(task, *overrides):
    """Run a multirun in this process."""
    GlobalHydra.instance().clear()
    version.setbase("1.3")
    register_search_path()
    hydra = Hydra.create_main_hydra2(
        "search", create_config_search_path(str(Path("conf").absolute()))
    )
    hydra.multirun("config", task, ["hydra/sweeper=optuna", *overrides])


def trials(storage="study/study.journal", name="study"):
    return optuna.load_study(study_name=name, storage=open_storage(storage)).get_trials()


def states(**options):
    return [trial.state.name for trial in trials(**options)]


def note(cfg):
    """Add a line to a file for each call."""
    with Path("calls").open("a") as file:
        file.write(f"{HydraConfig.get().job.num} {cfg.x} {cfg.kind}\n")


def calls():
    return Path("calls").read_text().splitlines()


def score(cfg):
    note(cfg)
    return -((cfg.x - 0.3) ** 2)


@pytest.mark.slow
def test_a_grid_runs_every_setting_once():
    search(score, "x=1,2", "kind=a,b", "hydra/sweeper/sampler=grid")
    assert sorted(line.split(" ", 1)[1] for line in calls()) == [
        f"{x} {kind}" for x in (1, 2) for kind in "ab"
    ]
    assert states() == ["COMPLETE"] * 4


def test_a_grid_of_an_interval_is_refused(capsys):
    with pytest.raises(JobError):
        search(score, *SPACE, "hydra/sweeper/sampler=grid")
    assert "expected lists, choice() and range() alone" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "random", "nsgaii"])
def test_each_sampler_searches(sampler):
    options = [f"hydra/sweeper/sampler={sampler}", "hydra.sweeper.n_trials=3"]
    if sampler in {"tpe", "gp"}:
        options.append("hydra.sweeper.sampler.n_startup_trials=1")
    search(score, *SPACE, "kind=a,b", *options)
    assert states() == ["COMPLETE"] * 3
    assert len(set(calls())) == 3


@pytest.mark.slow
def test_the_job_has_the_number_of_its_trial_and_the_study_its_score():
    search(score, *SPACE, "hydra.sweeper.n_trials=3")
    for trial, line in zip(trials(), calls(), strict=True):
        number, x, _ = line.split()
        assert trial.number == int(number)
        assert trial.params["x"] == pytest.approx(float(x), abs=1e-4)
        assert trial.value == pytest.approx(-((float(x) - 0.3) ** 2))


def hang_at_2(cfg):
    if HydraConfig.get().job.num == 2:
        Path("hanging").touch()
        time.sleep(600)
    return score(cfg)


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["study/study.journal", "sqlite:///studies.db"])
def test_a_killed_search_resumes_with_no_trial_twice_and_none_running(folder, storage):
    options = [*SPACE, "kind=a,b", "hydra.sweeper.n_trials=6", f"hydra.sweeper.storage={storage}"]
    process = FORK.Process(target=search, args=(hang_at_2, *options))
    process.start()
    while not (folder / "hanging").exists():
        assert process.is_alive()
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert states(storage=storage) == ["COMPLETE"] * 2 + ["RUNNING"]
    search(score, *options)
    assert states(storage=storage) == ["COMPLETE"] * 6
    assert [int(line.split()[0]) for line in calls()] == list(range(6))
    assert len({line.partition(" ")[2] for line in calls()}) == 6


def slow_score(cfg):
    time.sleep(0.05)
    return score(cfg)


@pytest.mark.slow
def test_several_processes_share_the_trials_of_one_study():
    options = (*SPACE, "hydra.sweeper.n_trials=8")
    processes = [FORK.Process(target=search, args=(slow_score, *options)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert states() == ["COMPLETE"] * 8
    assert sorted(int(line.split()[0]) for line in calls()) == list(range(8))


@pytest.mark.slow
def test_a_launcher_gets_batches_and_the_study_their_scores():
    options = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.n_jobs=2"]
    search(lambda cfg: cfg.x, *SPACE, "hydra.sweeper.n_trials=2", *options)
    assert [trial.value for trial in trials()] == pytest.approx(
        [trial.params["x"] for trial in trials()], abs=1e-4
    )


def learn(cfg):
    """Four validations, whose scores rise to x."""
    trial = SearchTrial.begin(HydraConfig.get())
    for validation in range(1, 5):
        trial.report(validation, cfg.x * validation / 4)
        if trial.falls_behind():
            trial.keep_pruned()
            break
    assert trial.end() == (validation < 4)
    note(cfg)
    return cfg.x


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pruner", "values", "pruned"),
    [
        ("median", ["n_startup_trials=2"], [False, False, True, False]),
        ("threshold", ["lower=2", "n_warmup_steps=0"], [True] * 4),
        ("successive_halving", ["reduction_factor=2"], [False, True, True, False]),
        ("hyperband", ["max_resource=4", "reduction_factor=2"], [False, True, True, False]),
        ("none", [], [False] * 4),
    ],
)
def test_a_pruner_ends_the_trials_that_fall_behind(pruner, values, pruned):
    # from the seed follows the order 0.6, 0.5, 0.1, 0.9
    options = ["x=0.1,0.5,0.6,0.9", "hydra/sweeper/sampler=grid", f"hydra/sweeper/pruner={pruner}"]
    search(learn, *options, *[f"hydra.sweeper.pruner.{value}" for value in values])
    assert [state == "PRUNED" for state in states()] == pruned


def two_objectives(cfg):
    trial = SearchTrial.begin(HydraConfig.get())
    trial.report(1, cfg.x)
    assert not trial.falls_behind()
    trial.keep({"latency_ms": 100 * (cfg.x - 0.5) ** 2})
    assert not trial.end()
    return cfg.x


@pytest.mark.slow
def test_several_objectives_end_in_a_front(capsys):
    latency = "+hydra.sweeper.objectives.latency_ms=minimize"
    search(two_objectives, "x=0.1,0.5,0.9", "hydra/sweeper/sampler=grid", latency)
    study = optuna.load_study(study_name="study", storage=open_storage("study/study.journal"))
    assert sorted(trial.params["x"] for trial in study.best_trials) == [0.5, 0.9]
    output = capsys.readouterr().out
    assert "every trial runs to its end" in output
    assert "latency_ms 16" in output


@pytest.mark.slow
def test_a_study_keeps_its_objectives(capsys):
    search(score, *SPACE, "hydra.sweeper.n_trials=1")
    with pytest.raises(JobError):
        search(score, *SPACE, "hydra.sweeper.objectives.score=minimize")
    assert "expected the objectives {'score': 'maximize'}" in capsys.readouterr().out


@pytest.mark.slow
def test_a_command_that_returns_no_score_is_refused_and_its_trial_waits(capsys):
    with pytest.raises(JobError):
        search(note, *SPACE)
    assert "expected a number for score from each job, but got None" in capsys.readouterr().out
    assert states() == ["WAITING"]


def fail_once(cfg):
    if cfg.x == 2 and not Path("failed").exists():
        Path("failed").touch()
        raise ValueError("out of luck")
    return score(cfg)


@pytest.mark.slow
def test_a_failed_trial_is_repeated_alone_by_the_next_start(capsys):
    options = ["x=1,2,3", "hydra/sweeper/sampler=grid"]
    with pytest.raises(JobError):
        search(fail_once, *options)
    assert sorted(states()) == ["COMPLETE", "COMPLETE", "FAIL"]
    assert "run the same command again to repeat the failed trials alone" in capsys.readouterr().out
    search(fail_once, *options)
    assert states().count("COMPLETE") == 3
    assert sorted(float(line.split()[1]) for line in calls()) == [1, 2, 3]
    search(fail_once, *options)  # nothing is left to do
    assert len(calls()) == 3


def interrupt(cfg):
    SearchTrial.begin(HydraConfig.get())
    raise KeyboardInterrupt


@pytest.mark.slow
def test_an_interrupted_trial_waits_for_the_next_start():
    with pytest.raises(KeyboardInterrupt):
        search(interrupt, *SPACE, "hydra.sweeper.n_trials=2")
    assert states() == ["WAITING"]
    assert TRIAL_VARIABLE not in os.environ  # a training of this process is no trial
    search(score, *SPACE, "hydra.sweeper.n_trials=2")
    assert states() == ["COMPLETE"] * 2


def test_a_wrong_choice_is_refused_before_the_study_is_made(folder):
    from hydra.errors import HydraException

    with pytest.raises(HydraException, match="missing"):
        search(score, *SPACE, "missing=1")
    assert not (folder / "study/study.journal").exists()


DEAD = this_process().rsplit(" ", 2)[0] + " 1 0"  # process 1, but of another time
ELSEWHERE = "otherhost pid:[1] 7 7"


@pytest.mark.parametrize(
    ("sweeper", "job", "silent_s", "abandoned", "orphan"),
    [
        (DEAD, "", 0, True, False),
        (DEAD, DEAD, 0, True, False),
        (DEAD, this_process(), 0, False, True),
        (this_process(), "", 0, False, False),
        (this_process(), DEAD, 0, False, False),
        ("", "", 0, True, False),  # killed between two entries
        (ELSEWHERE, "", 0, False, False),
        (ELSEWHERE, "", SILENCE_S + 1, True, False),
        (DEAD, ELSEWHERE, 0, False, True),
    ],
    ids=range(9),  # the processes of pytest must collect the same names
)
def test_a_trial_is_abandoned_when_its_processes_are_dead(
    sweeper, job, silent_s, abandoned, orphan
):
    trial = optuna.create_trial(
        state=TrialState.RUNNING,
        user_attrs={SWEEPER: sweeper, JOB: job, SEEN: time.time() - silent_s},
    )
    assert is_abandoned(trial) == abandoned
    assert is_orphan(trial) == orphan


@pytest.mark.parametrize("act", [open_storage, lambda url: study_lock(url).__enter__()])
def test_another_kind_of_database_is_refused_without_its_password(act):
    with pytest.raises(ValueError, match="sqlite:///FILE or postgresql") as error:
        act("mysql://me:secret@host/studies")
    assert "secret" not in str(error.value)
