"""What a sweep prints at its end."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from maskmill.assembly.job_record import JobRecord, write_job
from maskmill.assembly.sweep_record import SweepRecord
from maskmill.assembly.sweep_result import rank_jobs, write_result
from maskmill.reporting.fold_means import fold_means
from maskmill.reporting.ranking import RankedJob, Ranking
from maskmill.serving.model_files import write_model
from strategies import CATEGORIES

CAUTION = (
    "caution: val/mIoU and val/PQ cannot be compared with each other, only jobs of the same task"
)
LIMITS = {"min_area_px": 0, "stuff_area_px": 0, "keep_stuff": True}
SEMANTIC = {"_target_": "maskmill.postprocess.semantic.SemanticSegments"}
MASKS = {
    "_target_": "maskmill.postprocess.mask_classification.PanopticMasks",
    **{"threshold": 0.5, "overlap": 0.5, **LIMITS},
}


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


def test_settings_are_compared_by_their_mean_over_folds(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = Path("out/sweeps/folds")
    scores = {"1e-3": [0.50, 0.60, 0.70], "3e-3": [0.62, 0.64, 0.66], "1e-2": [0.9, 0.9]}
    jobs = [
        (f"optimizer.lr={rate}", f"prepare.fold={fold}", score)
        for rate, of_folds in scores.items()
        for fold, score in enumerate(of_folds)
    ]
    for job, (rate, fold, score) in enumerate(jobs):
        folder.joinpath(str(job)).mkdir(parents=True)
        record = JobRecord(job, [rate, fold], [rate, fold], "FINISHED", "val/mIoU", score)
        write_job(folder / str(job), record)
    sweep = SweepRecord(["prepare.fold=0,1,2"], "run", "RUNNING", "process")
    page = write_result(folder, rank_jobs(folder, sweep, dict.fromkeys(range(8), "run")))
    output = capsys.readouterr().out
    lines = [line for line in output.splitlines() if line.startswith("mean of ")]
    assert lines == [
        "mean of 3 folds, optimizer.lr=0.003: val/mIoU 64.0 % (62.0 % to 66.0 %)",
        "mean of 3 folds, optimizer.lr=0.001: val/mIoU 60.0 % (50.0 % to 70.0 %)",
        "mean of 2 folds, optimizer.lr=0.01: val/mIoU 90.0 % (90.0 % to 90.0 %)",
    ]
    assert "mean of 3 folds, optimizer.lr=0.003" in page.read_text()
    assert "maskmill ensemble" not in output  # there are no models


def test_folds_are_in_their_order_and_a_missing_one_is_seen():
    jobs = [
        RankedJob(fold, {"prepare.fold": str(fold), "train.out": f"out/{fold}"}, "FINISHED", 0.5)
        for fold in range(11)
    ]
    (setting,) = fold_means(Ranking.of("folds", "val/PQ", jobs))
    assert [job.job for job in setting.jobs] == list(range(11))
    assert setting.name == ""
    assert setting.is_complete
    jobs[3] = replace(jobs[3], status="FAILED", score=None)
    (setting,) = fold_means(Ranking.of("folds", "val/PQ", jobs))
    assert not setting.is_complete


@pytest.mark.parametrize("name", ["folds", "a,b"])
@pytest.mark.parametrize("postprocess", [SEMANTIC, MASKS])
def test_the_models_of_all_folds_are_offered_as_one(
    name, postprocess, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    folder = Path("out/sweeps", name)
    for fold in range(2):
        own = [f"prepare.fold={fold}"]
        config = {"network": {"_target_": "a.Network"}, "task": {"postprocess": postprocess}}
        write_model(folder / f"{fold}/train", {}, config, CATEGORIES, f"data {fold}")
        write_job(folder / str(fold), JobRecord(fold, own, own, "FINISHED", "val/mIoU", 0.5))
    sweep = SweepRecord(["prepare.fold=0,1"], "run", "RUNNING", "process")
    write_result(folder, rank_jobs(folder, sweep, {0: "first", 1: "second"}))
    line = capsys.readouterr().out.splitlines()[-1]
    if postprocess == MASKS:
        assert "maskmill register" in line
        return
    _, command, override = shlex.split(line)
    assert command == "ensemble"
    parsed = OverridesParser.create().parse_override(override)
    assert parsed.value() == [f"out/sweeps/{name}/0/train", f"out/sweeps/{name}/1/train"]
