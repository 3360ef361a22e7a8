"""What a sweep prints at its end."""

from pathlib import Path

import pytest

from maskmill.assembly.job_record import JobRecord, write_job
from maskmill.assembly.sweep_record import SweepRecord
from maskmill.assembly.sweep_result import rank_jobs, write_result

CAUTION = (
    "caution: val/mIoU and val/PQ cannot be compared with each other, only jobs of the same task"
)


@pytest.mark.parametrize("has_caution", [False, True])
def test_scores_of_two_tasks_are_not_passed_off_as_one(has_caution, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "out/sweeps/nets"
    for job, network in enumerate(["unet", "eomt"]):
        folder.joinpath(str(job)).mkdir(parents=True)
        metric = "val/PQ" if has_caution and network == "eomt" else "val/mIoU"
        own = [f"network={network}"]
        write_job(folder / str(job), JobRecord(job, own, own, "FINISHED", metric, 0.5 - job / 10))
    sweep = SweepRecord(["network=unet,eomt"], "run", "RUNNING", "process")
    ranking = rank_jobs(folder, sweep, {0: "first", 1: "second"})
    page = write_result(folder, ranking)
    output = capsys.readouterr().out
    assert (CAUTION in output.splitlines()) == has_caution
    assert ("cannot be compared" in page.read_text()) == has_caution
    assert "best: job 0, network=unet: " in output
    assert "50.0 %" in output


@pytest.mark.parametrize("data", [None, "out/folds/0"])
def test_the_next_steps_are_on_the_data_of_the_best_job(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = Path("out/sweeps/folds")
    folder.joinpath("0").mkdir(parents=True)
    overrides = ["prepare.fold=0"] + ([f"prepare.out={data}"] if data else [])
    write_job(folder / "0", JobRecord(0, overrides, overrides[:1], "FINISHED", "val/PQ", 0.5))
    sweep = SweepRecord(["prepare.fold=0,1"], "run", "RUNNING", "process")
    write_result(folder, rank_jobs(folder, sweep, {0: "first"}))
    output = capsys.readouterr().out
    place = "" if data else " prepare.out=out/prepare"
    assert f"maskmill predict experiment=best_folds out=out/sweeps/folds/0{place} && " in output
    text = (tmp_path / "conf/experiment/best_folds.yaml").read_text()
    assert (f"out: {data}" in text) == (data is not None)
